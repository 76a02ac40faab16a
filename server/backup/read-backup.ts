/**
 * Reads the entries of a backup and its manifest, within limits. The manifest must be authenticated (`authentication.ts`) before a
 * file is used, and each file must have the hash in the manifest.
 */

import { createHash } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { isArchivePath } from './archive-path.ts';
import { ENCRYPTED, ENCRYPTED_FORMAT_1, MANIFEST, type Manifest, manifestSchema, SIGNATURE } from './manifest.ts';
import { bytesOf, type TarEntry, tarEntries } from './tar.ts';

/** The largest entry that is read into memory. */
const MAX_IN_MEMORY_BYTES = 64 * 1_048_576;

/** Entries that no manifest lists. */
const UNLISTED = [MANIFEST, ENCRYPTED, SIGNATURE];

export interface ReadBackup {
  readonly manifest: Manifest;
  /** The bytes in the archive. */
  readonly manifestText: Buffer;
  /** The files that the manifest lists; their sizes match it. */
  readonly files: readonly ListedFile[];
  /** Undefined when there is no entry of this name. */
  read(name: string): Buffer | undefined;
  /** The bytes of a file. Throws Problem `backup_unusable` after the last one when the hash differs. */
  bytes(file: ListedFile): Generator<Buffer>;
}

export interface ListedFile {
  readonly name: string;
  readonly sha256: string;
  readonly entry: TarEntry;
}

/** Throws Problem `backup_unusable`, whose detail names what was expected. */
export function readBackup(descriptor: number): ReadBackup {
  try {
    const entries = entriesOf(descriptor);
    const read = (name: string) => {
      const entry = entries.get(name);
      if (entry === undefined) return undefined;
      if (entry.size > MAX_IN_MEMORY_BYTES)
        throw new RangeError(`expected a smaller ${name}, found ${entry.size} bytes`);
      return Buffer.concat([...bytesOf(descriptor, entry.at, entry.size)].map((chunk) => Buffer.from(chunk)));
    };
    const manifestText = read(MANIFEST);
    if (manifestText === undefined) throw new RangeError(`expected ${MANIFEST} in it, found none`);
    const manifest = manifestSchema.parse(JSON.parse(manifestText.toString()));
    return {
      manifest,
      manifestText,
      files: listed(manifest, entries),
      read: (name) => withProblem(() => read(name)),
      bytes: (file) => hashedBytes(descriptor, file),
    };
  } catch (error) {
    throw unusable(error);
  }
}

function entriesOf(descriptor: number): Map<string, TarEntry> {
  const entries = new Map<string, TarEntry>();
  for (const entry of tarEntries(descriptor)) {
    if (!isArchivePath(entry.name)) throw new RangeError('expected names below the data directory, found another');
    if (entries.has(entry.name)) throw new RangeError(`expected ${entry.name} once, found it twice`);
    entries.set(entry.name, entry);
  }
  return entries;
}

function listed(manifest: Manifest, entries: ReadonlyMap<string, TarEntry>): ListedFile[] {
  const unlisted = manifest.format === 1 ? [MANIFEST] : UNLISTED;
  const expected = entries.size - unlisted.filter((name) => entries.has(name)).length;
  const names = new Set(manifest.files.map(({ name }) => name));
  if (names.size !== manifest.files.length || names.size !== expected || unlisted.some((name) => names.has(name)))
    throw new RangeError(`expected ${manifest.files.length} files, found ${expected}`);
  return manifest.files.map(({ name, size, sha256 }) => {
    const entry = entries.get(name);
    if (entry === undefined || entry.size !== size) throw new RangeError(`expected ${size} bytes of ${name}`);
    return { name, sha256, entry };
  });
}

/** Hashes the bytes while they are used, because the archive may change between two reads. */
function* hashedBytes(descriptor: number, { name, sha256, entry }: ListedFile): Generator<Buffer> {
  const hash = createHash('sha256');
  try {
    for (const chunk of bytesOf(descriptor, entry.at, entry.size)) {
      hash.update(chunk);
      yield chunk;
    }
    if (hash.digest('hex') !== sha256) throw new RangeError(`expected ${name} as it was written, found other bytes`);
  } catch (error) {
    throw error instanceof RangeError ? unusable(error) : error;
  }
}

function withProblem<Value>(action: () => Value): Value {
  try {
    return action();
  } catch (error) {
    throw unusable(error);
  }
}

function unusable(cause: unknown): Problem {
  const detail = cause instanceof RangeError ? cause.message : 'expected a backup of Rollcall, found something else';
  return new Problem('backup_unusable', { detail, cause });
}

/** Whether it holds private keys, encrypted with a passphrase. */
export function isEncrypted({ manifest, files, read }: ReadBackup): boolean {
  if (manifest.format === 1) return files.some(({ name }) => name === ENCRYPTED_FORMAT_1);
  return read(ENCRYPTED) !== undefined;
}
