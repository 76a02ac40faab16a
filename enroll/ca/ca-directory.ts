/**
 * The directory of CA keys and certificates: `root.key`, `root.pem`, `issuing.key`, `issuing.pem`, and the same with
 * eight digits in the name (`issuing-0a1b2c3d.key`) for later CAs. Files are written atomically; keys and certificates
 * are never overwritten. Does not interpret the contents.
 */

import { createPrivateKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { link, lstat, mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
export type CaRole = 'root' | 'issuing';
/** The name of a CA's files without their ending. */
export type CaName = CaRole | `${CaRole}-${string}`;

/** `key`: a private key. `uri`: the PKCS#11 URI of one. `csr`: a request that is not signed yet. `crl`: the CRL of a root. */
export type CaFile = 'key' | 'uri' | 'pem' | 'csr' | 'crl';

export interface CaDirectory {
  readonly path: string;
  /** The CAs that have a file of this kind, the first ones first. */
  names(kind: CaFile): Promise<readonly CaName[]>;
  /** A name for a new CA. */
  newName(role: CaRole): CaName;
  /**
   * Undefined when there is no such file. Problem `private_key_exposed` when others than its owner may touch it,
   * `authority_unusable` when it needs another passphrase.
   */
  readKey(name: CaName, passphrase?: Buffer): Promise<KeyObject | undefined>;
  /** PEM, encrypted or not. */
  writeKey(name: CaName, pem: string): Promise<void>;
  /** Resolves when the key is no longer in the directory. */
  removeKey(name: CaName): Promise<void>;
  readText(name: CaName, kind: 'uri' | 'pem' | 'csr' | 'crl'): Promise<string | undefined>;
  writeText(name: CaName, kind: 'uri' | 'csr', text: string): Promise<void>;
  /** Replaces the file. */
  replaceText(name: CaName, kind: 'crl', text: string): Promise<void>;
  removeText(name: CaName, kind: 'csr'): Promise<void>;
  /** DER of the first in the file; undefined when there is no such file. */
  readCertificate(name: CaName): Promise<Buffer | undefined>;
  /** The certificate, and the chain from it to other roots. */
  writeCertificate(name: CaName, der: Buffer, chain?: string): Promise<void>;
}

/** A file that is not renamed yet; only a crash leaves one behind. */
const UNFINISHED = /^(?:root|issuing)(?:-[0-9a-f]{8})?\.(?:key|uri|pem|csr|crl)\.[0-9a-f]{12}\.new$/;
const CA_FILE = /^((?:root|issuing)(?:-[0-9a-f]{8})?)\.(key|uri|pem|csr|crl)$/;

/** Creates the directory (0700) when there is none, and deletes unfinished files of a crash. */
export async function openCaDirectory(path: string): Promise<CaDirectory> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await refuseExposed(path, 0o700);
    for (const name of await readdir(path)) {
      if (UNFINISHED.test(name)) await unlink(join(path, name));
    }
  } catch (error) {
    throw unusable(path, error);
  }
  return {
    path,
    names: async (kind) =>
      (await readdir(path))
        .map((file) => CA_FILE.exec(file))
        .filter((parts) => parts?.[2] === kind)
        .map((parts) => parts?.[1] as CaName)
        .sort(),
    newName: (role) => `${role}-${randomBytes(4).toString('hex')}`,
    readKey: async (name, passphrase) => {
      const file = join(path, `${name}.key`);
      const text = await readIfPresent(file);
      if (text === undefined) return undefined;
      await refuseExposed(file, 0o600);
      const isEncrypted = text.includes('ENCRYPTED PRIVATE KEY');
      if (isEncrypted && passphrase === undefined) {
        throw new Problem('authority_unusable', {
          reason: `expected a passphrase for ${file}, found none`,
          hint: 'name the file that holds it: certificates.keys.passphraseFile',
        });
      }
      const wanted = isEncrypted ? 'a private key in PEM that this passphrase opens' : 'a private key in PEM';
      return damagedUnless(file, wanted, () =>
        createPrivateKey({ key: text, ...(isEncrypted && { passphrase: passphrase as Buffer }) }),
      );
    },
    writeKey: (name, text) => writeOnce(join(path, `${name}.key`), text, 0o600),
    removeKey: async (name) => {
      await unlink(join(path, `${name}.key`)).catch((error: unknown) => throwUnlessAbsent(path, error));
      await syncDirectory(path);
    },
    readText: (name, kind) => readIfPresent(join(path, `${name}.${kind}`)),
    writeText: (name, kind, text) => writeOnce(join(path, `${name}.${kind}`), text, 0o600),
    replaceText: (name, kind, text) => replace(join(path, `${name}.${kind}`), text, 0o644),
    removeText: (name, kind) =>
      unlink(join(path, `${name}.${kind}`)).catch((error: unknown) => throwUnlessAbsent(path, error)),
    readCertificate: async (name) => {
      const file = join(path, `${name}.pem`);
      const text = await readIfPresent(file);
      if (text === undefined) return undefined;
      return damagedUnless(file, 'a certificate in PEM', () => new X509Certificate(text).raw);
    },
    writeCertificate: (name, der, chain = '') =>
      writeOnce(join(path, `${name}.pem`), new X509Certificate(der).toString() + chain, 0o644),
  };
}

/** Atomic and durable: writes a temporary file, syncs it, and links it. Never replaces an existing file. */
async function writeOnce(file: string, text: string, mode: number): Promise<void> {
  try {
    const temporary = await writeTemporary(file, text, mode);
    // A link fails when the name exists; a rename would replace the key of another server.
    await link(temporary, file);
    await unlink(temporary);
    await syncDirectory(join(file, '..'));
  } catch (error) {
    throw unusable(file, error);
  }
}

async function replace(file: string, text: string, mode: number): Promise<void> {
  try {
    await rename(await writeTemporary(file, text, mode), file);
    await syncDirectory(join(file, '..'));
  } catch (error) {
    throw unusable(file, error);
  }
}

async function writeTemporary(file: string, text: string, mode: number): Promise<string> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.new`;
  const handle = await open(temporary, 'wx', mode);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return temporary;
}

function throwUnlessAbsent(path: string, error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unusable(path, error);
}

async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return; // a directory cannot be opened on Windows, and needs no sync
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readIfPresent(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unusable(file, error);
  }
}

async function refuseExposed(path: string, wanted: number): Promise<void> {
  if (process.platform === 'win32') return; // modes have no meaning on Windows
  const { mode } = await lstat(path);
  if ((mode & 0o077) === 0) return;
  throw new Problem('private_key_exposed', {
    reason: `expected mode ${wanted.toString(8)} of ${path}, found ${(mode & 0o777).toString(8)}`,
    hint: `run: chmod ${wanted.toString(8)} ${path}    and ask who could have read the key until now`,
  });
}

function damagedUnless<Value>(file: string, expected: string, read: () => Value): Value {
  try {
    return read();
  } catch {
    // OpenSSL's own message may quote the file, so it is not used.
    throw new Problem('authority_unusable', {
      reason: `expected ${expected} in ${file}`,
      hint: `restore ${file} from a backup`,
    });
  }
}

function unusable(path: string, error: unknown): unknown {
  if (error instanceof Problem) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'EEXIST') {
    return new Problem('data_directory_busy', { reason: `${path} appeared while it was being written`, cause: error });
  }
  return new Problem('data_directory_unusable', {
    reason: `${path}: ${(error as Error).message}`,
    hint: 'give the server a directory that its user owns and can write to',
    cause: error,
  });
}
