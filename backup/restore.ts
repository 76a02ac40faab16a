/**
 * Makes a data directory of a backup: all of it or nothing, beside its place and renamed into it. A fleet without its keys would
 * start with new ones and know none of its devices, so they must come along: sealed in the backup, or as a copy of `ca/`.
 */

import { X509Certificate } from 'node:crypto';
import {
  closeSync,
  cpSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, normalize, resolve } from 'node:path';
import { Problem } from '../contract/problem.ts';
import { syncDirectory } from '../sqlite/sync-directory.ts';
import { expectSound, isDatabase } from './database-copy.ts';
import { type Manifest, SEALED, secretsSchema } from './manifest.ts';
import { readManifest } from './reading.ts';
import { RESTORED_NOTE } from './restored-note.ts';
import { unseal } from './secrets.ts';
import { bytesOf, type TarEntry } from './tar.ts';

export interface RestoreOptions {
  readonly file: string;
  /** Must not exist, or be empty. */
  readonly data: string;
  /** Of keys that are sealed in the backup. */
  readonly passphrase?: string;
  /** A copy of `ca/`, for a backup without keys. */
  readonly authority?: string;
  readonly now: () => number;
}

/** Throws Problem `backup_unusable` or `data_directory_unusable`; then the directory is as it was. */
export function restore(options: RestoreOptions): Manifest {
  const target = resolve(options.data);
  expectEmpty(target);
  const descriptor = openBackup(options.file);
  const draft = `${target}.partial`;
  try {
    const { manifest, entries } = readManifest(descriptor);
    expectKeys(options, entries);
    rmSync(draft, { recursive: true, force: true });
    mkdirSync(draft, { recursive: true, mode: 0o700 });
    for (const { name, at, size } of entries.values()) {
      if (name !== SEALED) put(draft, name, bytesOf(descriptor, at, size));
    }
    putKeys(draft, options, descriptor, entries.get(SEALED));
    for (const { name } of manifest.files) {
      if (name !== SEALED && !name.endsWith('.damaged') && isDatabase(join(draft, name)))
        expectSound(join(draft, name));
    }
    const note = { takenAt: manifest.takenAt, restoredAt: new Date(options.now()).toISOString() };
    put(draft, RESTORED_NOTE, [Buffer.from(`${JSON.stringify(note)}\n`)]);
    syncDirectory(draft);
    if (statSync(target, { throwIfNoEntry: false }) !== undefined) rmdirSync(target);
    renameSync(draft, target);
    syncDirectory(dirname(target));
    return manifest;
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    if (error instanceof Problem) throw error;
    throw unusableDirectory(target, (error as Error).message, error);
  } finally {
    closeSync(descriptor);
  }
}

function openBackup(file: string): number {
  try {
    return openSync(file, 'r');
  } catch (cause) {
    throw new Problem('backup_unusable', { detail: 'expected a file that can be read, found none', cause });
  }
}

function expectEmpty(target: string): void {
  const found = statSync(target, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (found.isDirectory() && readdirSync(target).length === 0) return;
  throw unusableDirectory(target, 'expected an empty directory or none, found something');
}

function expectKeys({ passphrase, authority }: RestoreOptions, entries: ReadonlyMap<string, TarEntry>): void {
  const isSealed = entries.has(SEALED);
  if (isSealed && passphrase === undefined && authority === undefined) {
    throw new Problem('usage', { detail: 'the keys are sealed in this backup: expected --passphrase-file FILE' });
  }
  if (!isSealed && authority === undefined) {
    throw new Problem('usage', {
      detail: "this backup holds no keys: expected --ca DIR, a copy of the fleet's ca directory",
    });
  }
}

/** Throws Problem `backup_unusable` for a name that leaves the directory. */
function put(directory: string, name: string, chunks: Iterable<Uint8Array>): void {
  if (name.startsWith('/') || normalize(name) !== name || /(^|\/)\.\.(\/|$)/.test(name)) {
    throw new Problem('backup_unusable', { detail: 'expected names below the data directory, found another' });
  }
  const path = join(directory, name);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const descriptor = openSync(path, 'wx', name.endsWith('.pem') ? 0o644 : 0o600);
  try {
    for (const chunk of chunks) writeFileSync(descriptor, chunk);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function putKeys(
  draft: string,
  { passphrase, authority }: RestoreOptions,
  descriptor: number,
  sealed: TarEntry | undefined,
): void {
  if (authority !== undefined) {
    cpSync(authority, join(draft, 'ca'), { recursive: true });
    expectSameFleet(draft);
  } else if (sealed !== undefined && passphrase !== undefined) {
    const bytes = Buffer.concat([...bytesOf(descriptor, sealed.at, sealed.size)].map((chunk) => Buffer.from(chunk)));
    const secrets = secretsSchema.parse(JSON.parse(unseal(bytes, passphrase).toString()));
    for (const [name, content] of Object.entries(secrets)) put(draft, name, [Buffer.from(content, 'base64')]);
  }
}

/** The keys of another fleet would fit as well, and cut every device off. */
function expectSameFleet(draft: string): void {
  const trusted = certificatesIn(join(draft, 'trust-bundle.pem'));
  const files = readdirSync(join(draft, 'ca'), { recursive: true }) as string[];
  const found = files
    .filter((name) => name.endsWith('.pem'))
    .flatMap((name) => certificatesIn(join(draft, 'ca', name)));
  if (trusted.some((one) => found.includes(one))) return;
  throw new Problem('backup_unusable', {
    detail: "expected the ca directory of this backup's fleet, found another root",
  });
}

/** Fingerprints. */
function certificatesIn(file: string): string[] {
  const blocks = readFileSync(file, 'utf8').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((pem) => new X509Certificate(pem).fingerprint256);
}

function unusableDirectory(target: string, reason: string, cause?: unknown): Problem {
  return new Problem('data_directory_unusable', { reason: `${target}: ${reason}`, cause });
}
