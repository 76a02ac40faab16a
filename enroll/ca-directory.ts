/**
 * The directory in which the authority's keys and certificates lie: `root.key`, `root.pem`, `issuing.key`,
 * `issuing.pem`. Each file appears whole or not at all, and is never written over. Knows nothing of what is in them.
 */

import { createPrivateKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { link, lstat, mkdir, open, readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Problem } from '../contract/problem.ts';

export type CaName = 'root' | 'issuing';

export interface CaDirectory {
  readonly path: string;
  /** Undefined when there is no such file. Problem `private_key_exposed` when others than its owner may touch it. */
  readKey(name: CaName): Promise<KeyObject | undefined>;
  writeKey(name: CaName, key: KeyObject): Promise<void>;
  /** DER; undefined when there is no such file. */
  readCertificate(name: CaName): Promise<Buffer | undefined>;
  writeCertificate(name: CaName, der: Buffer): Promise<void>;
}

/** A file on its way to its name; left behind only by a crash. */
const UNFINISHED = /^(?:root|issuing)\.(?:key|pem)\.[0-9a-f]{12}\.new$/;

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
    readKey: async (name) => {
      const file = join(path, `${name}.key`);
      const text = await readIfPresent(file);
      if (text === undefined) return undefined;
      await refuseExposed(file, 0o600);
      return damagedUnless(file, 'a private key in PEM', () => createPrivateKey(text));
    },
    writeKey: (name, key) =>
      writeOnce(join(path, `${name}.key`), key.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600),
    readCertificate: async (name) => {
      const file = join(path, `${name}.pem`);
      const text = await readIfPresent(file);
      if (text === undefined) return undefined;
      return damagedUnless(file, 'a certificate in PEM', () => new X509Certificate(text).raw);
    },
    writeCertificate: (name, der) => writeOnce(join(path, `${name}.pem`), new X509Certificate(der).toString(), 0o644),
  };
}

/** Whole or not at all: written aside, on the disk, then given its name; never over a file that exists. */
async function writeOnce(file: string, text: string, mode: number): Promise<void> {
  const aside = `${file}.${randomBytes(6).toString('hex')}.new`;
  try {
    const handle = await open(aside, 'wx', mode);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A link fails where the name exists; a rename would put our key in place of another server's.
    await link(aside, file);
    await unlink(aside);
    await syncDirectory(join(file, '..'));
  } catch (error) {
    throw unusable(file, error);
  }
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
