/**
 * The directory in which the authority's keys and certificates lie: `root.key`, `root.pem`, `issuing.key`,
 * `issuing.pem`, and the same with eight digits in the name (`issuing-0a1b2c3d.key`) for CAs that came later. Each file
 * appears whole or not at all; keys and certificates are never written over. Knows nothing of what is in them.
 */

import { createPrivateKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { link, lstat, mkdir, open, readdir, readFile, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
export type CaRole = 'root' | 'issuing';
/** The name of a CA's files without their ending. */
export type CaName = CaRole | `${CaRole}-${string}`;

/** `key`: a private key. `uri`: where one lies in a token. `csr`: a request that waits to be signed. `crl`: the list of a root. */
export type CaFile = 'key' | 'uri' | 'pem' | 'csr' | 'crl';

export interface CaDirectory {
  readonly path: string;
  /** The CAs that have a file of this kind, the first ones first. */
  names(kind: CaFile): Promise<readonly CaName[]>;
  /** A name for a CA to come. */
  newName(role: CaRole): CaName;
  /**
   * Undefined when there is no such file. Problem `private_key_exposed` when others than its owner may touch it,
   * `authority_unusable` when it needs another passphrase.
   */
  readKey(name: CaName, passphrase?: Buffer): Promise<KeyObject | undefined>;
  /** PEM, sealed or not. */
  writeKey(name: CaName, pem: string): Promise<void>;
  /** After this the key is nowhere in here. */
  removeKey(name: CaName): Promise<void>;
  readText(name: CaName, kind: 'uri' | 'pem' | 'csr' | 'crl'): Promise<string | undefined>;
  writeText(name: CaName, kind: 'uri' | 'csr', text: string): Promise<void>;
  /** In place of the one before it. */
  replaceText(name: CaName, kind: 'crl', text: string): Promise<void>;
  removeText(name: CaName, kind: 'csr'): Promise<void>;
  /** DER of the first in the file; undefined when there is no such file. */
  readCertificate(name: CaName): Promise<Buffer | undefined>;
  /** The certificate, and what leads from it to other roots. */
  writeCertificate(name: CaName, der: Buffer, chain?: string): Promise<void>;
}

/** A file on its way to its name; left behind only by a crash. */
const UNFINISHED = /^(?:root|issuing)(?:-[0-9a-f]{8})?\.(?:key|uri|pem|csr|crl)\.[0-9a-f]{12}\.new$/;
const CA_FILE = /^((?:root|issuing)(?:-[0-9a-f]{8})?)\.(key|uri|pem|csr|crl)$/;

/** Makes the directory if there is none (0700), clears away what a crash left unfinished. */
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
      const isSealed = text.includes('ENCRYPTED PRIVATE KEY');
      if (isSealed && passphrase === undefined) {
        throw new Problem('authority_unusable', {
          reason: `expected a passphrase for ${file}, found none`,
          hint: 'name the file that holds it: certificates.keys.passphraseFile',
        });
      }
      const wanted = isSealed ? 'a private key in PEM that this passphrase opens' : 'a private key in PEM';
      return damagedUnless(file, wanted, () =>
        createPrivateKey({ key: text, ...(isSealed && { passphrase: passphrase as Buffer }) }),
      );
    },
    writeKey: (name, text) => writeOnce(join(path, `${name}.key`), text, 0o600),
    removeKey: async (name) => {
      await unlink(join(path, `${name}.key`)).catch((error: unknown) => throwUnlessGone(path, error));
      await syncDirectory(path);
    },
    readText: (name, kind) => readIfPresent(join(path, `${name}.${kind}`)),
    writeText: (name, kind, text) => writeOnce(join(path, `${name}.${kind}`), text, 0o600),
    replaceText: (name, kind, text) => replace(join(path, `${name}.${kind}`), text, 0o644),
    removeText: (name, kind) =>
      unlink(join(path, `${name}.${kind}`)).catch((error: unknown) => throwUnlessGone(path, error)),
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

/** Whole or not at all: written aside, on the disk, then given its name; never over a file that exists. */
async function writeOnce(file: string, text: string, mode: number): Promise<void> {
  try {
    const aside = await writeAside(file, text, mode);
    // A link fails where the name exists; a rename would put our key in place of another server's.
    await link(aside, file);
    await unlink(aside);
    await syncDirectory(join(file, '..'));
  } catch (error) {
    throw unusable(file, error);
  }
}

async function replace(file: string, text: string, mode: number): Promise<void> {
  try {
    await rename(await writeAside(file, text, mode), file);
    await syncDirectory(join(file, '..'));
  } catch (error) {
    throw unusable(file, error);
  }
}

async function writeAside(file: string, text: string, mode: number): Promise<string> {
  const aside = `${file}.${randomBytes(6).toString('hex')}.new`;
  const handle = await open(aside, 'wx', mode);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return aside;
}

function throwUnlessGone(path: string, error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unusable(path, error);
}

async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return; // a directory cannot be opened there, nor needs to be
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
  if (process.platform === 'win32') return; // modes mean nothing there
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
    // OpenSSL's own message may quote the file, so it is not passed on.
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
    return new Problem('data_directory_busy', { reason: `${path} appeared while it was being made`, cause: error });
  }
  return new Problem('data_directory_unusable', {
    reason: `${path}: ${(error as Error).message}`,
    hint: 'give the server a directory that its user owns and can write to',
    cause: error,
  });
}
