/**
 * Restores a data directory from a backup, completely or not at all: it is written beside the target and renamed. The CA keys
 * are required, encrypted in the backup or as a copy of `ca/`, because with new keys a server would refuse all devices.
 */

import { X509Certificate } from 'node:crypto';
import {
  closeSync,
  cpSync,
  fsyncSync,
  lstatSync,
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
import { dirname, join, resolve } from 'node:path';
import { Problem } from '@rollcall/protocol';
import { type DirectoryLock, HOLDER_FILE, LOCK_FILE, lockDirectory, syncDirectory } from '../../storage/index.ts';
import { isArchivePath } from './archive-path.ts';
import { type AuthenticatedBackup, authenticate, isSameHead } from './authentication.ts';
import { expectIntactDatabase, isDatabase } from './database-copy.ts';
import { type AuditHead, ENCRYPTED_FORMAT_1, type Manifest } from './manifest.ts';
import { isEncrypted, type ReadBackup, readBackup } from './read-backup.ts';
import { RESTORED_NOTE } from './restored-note.ts';
import type { BackupTrust } from './signature.ts';

export interface RestoreOptions {
  readonly file: string;
  /** Must not exist, or be empty. */
  readonly data: string;
  /** The passphrase of a backup with keys. */
  readonly passphrase?: string;
  /** A copy of `ca/`, for a backup without keys. Signatures below its roots are trusted. */
  readonly authority?: string;
  /** Further signers that are trusted. */
  readonly trust?: BackupTrust;
  /** Restores an unauthenticated backup. */
  readonly acceptUnauthenticated?: boolean;
  /** Checks a restored registry and returns its audit head; null without a chained audit. Throws Problem `backup_unusable`. */
  readonly auditHead: (file: string) => AuditHead | null;
  readonly now: () => number;
}

export interface Restored {
  readonly manifest: Manifest;
  readonly provenBy: AuthenticatedBackup['provenBy'];
}

/**
 * Throws Problem `backup_unusable`, `backup_unauthenticated`, `data_directory_busy` or `data_directory_unusable`, and leaves
 * the directory unchanged then.
 */
export function restore(options: RestoreOptions): Restored {
  const target = resolve(options.data);
  expectEmpty(target);
  const descriptor = openBackup(options.file);
  try {
    const backup = readBackup(descriptor);
    expectKeys(options, backup);
    const { provenBy, secrets } = authenticate(backup, {
      passphrase: options.passphrase,
      trust: trustOf(options),
      acceptUnauthenticated: options.acceptUnauthenticated ?? false,
    });
    const draft = `${target}.partial`;
    const lock = lockDraft(draft);
    try {
      fillDraft(draft, options, backup, secrets);
      if (statSync(target, { throwIfNoEntry: false }) !== undefined) rmdirSync(target);
      renameSync(draft, target);
      syncDirectory(dirname(target));
      lock.release(target);
      return { manifest: backup.manifest, provenBy };
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      throw error;
    } finally {
      lock.release();
    }
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw unusableDirectory(target, (error as Error).message, error);
  } finally {
    closeSync(descriptor);
  }
}

/** Fails while another restore into the same directory runs. Removes the files of a restore that was killed. */
function lockDraft(draft: string): DirectoryLock {
  if (lstatSync(draft, { throwIfNoEntry: false })?.isDirectory() === false) rmSync(draft);
  mkdirSync(draft, { recursive: true, mode: 0o700 });
  const lock = lockDirectory(draft);
  for (const name of readdirSync(draft)) {
    if (name !== LOCK_FILE && name !== HOLDER_FILE) rmSync(join(draft, name), { recursive: true, force: true });
  }
  return lock;
}

function fillDraft(
  draft: string,
  options: RestoreOptions,
  backup: ReadBackup,
  secrets: AuthenticatedBackup['secrets'],
): void {
  const { manifest } = backup;
  const files = backup.files.filter(({ name }) => name !== ENCRYPTED_FORMAT_1 && name !== RESTORED_NOTE);
  for (const file of files) writeRestoredFile(draft, file.name, backup.bytes(file));
  restoreKeys(draft, options, secrets);
  for (const { name } of files) {
    if (!name.endsWith('.damaged') && isDatabase(join(draft, name))) expectIntactDatabase(join(draft, name));
  }
  expectAudit(manifest, options.auditHead(join(draft, 'registry.db')));
  // A read-only connection may leave these files.
  for (const beside of ['-wal', '-shm']) rmSync(join(draft, `registry.db${beside}`), { force: true });
  const note = { takenAt: manifest.takenAt, restoredAt: new Date(options.now()).toISOString() };
  writeRestoredFile(draft, RESTORED_NOTE, [Buffer.from(`${JSON.stringify(note)}\n`)]);
  syncDirectory(draft);
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

function expectKeys({ passphrase, authority }: RestoreOptions, backup: ReadBackup): void {
  const hasKeys = isEncrypted(backup);
  if (hasKeys && passphrase === undefined && authority === undefined) {
    throw new Problem('usage', { detail: 'the keys are encrypted in this backup: expected --passphrase-file FILE' });
  }
  if (!hasKeys && authority === undefined) {
    throw new Problem('usage', {
      detail: "this backup holds no keys: expected --ca DIR, a copy of the fleet's ca directory",
    });
  }
}

/** The roots in the copy of `ca/`, and the signers that the operator named. */
function trustOf({ authority, trust }: RestoreOptions): BackupTrust {
  const roots =
    authority === undefined
      ? []
      : readdirSync(authority)
          .filter((name) => /^root(?:-[0-9a-f]{8})?\.pem$/.test(name))
          .map((name) => new X509Certificate(readFileSync(join(authority, name))));
  return { roots: [...roots, ...(trust?.roots ?? [])], keys: trust?.keys ?? [] };
}

function expectAudit(manifest: Manifest, found: AuditHead | null): void {
  if (manifest.format === 1 || isSameHead(manifest.auditHead, found)) return;
  throw new Problem('backup_unusable', {
    detail: `expected an audit up to entry ${manifest.auditHead?.id ?? 'none'}, found one up to ${found?.id ?? 'none'}`,
  });
}

/** Throws Problem `backup_unusable` for a name that leaves the directory. */
function writeRestoredFile(directory: string, name: string, chunks: Iterable<Uint8Array>): void {
  if (!isArchivePath(name)) {
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

function restoreKeys(draft: string, { authority }: RestoreOptions, secrets: AuthenticatedBackup['secrets']): void {
  if (authority !== undefined) {
    cpSync(authority, join(draft, 'ca'), { recursive: true });
    expectSameFleet(draft);
    return;
  }
  for (const [name, content] of Object.entries(secrets ?? {}))
    writeRestoredFile(draft, name, [Buffer.from(content, 'base64')]);
}

/** The keys of another fleet would also load, and the server would refuse every device. */
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

/** The SHA-256 fingerprints of the certificates in a file. */
function certificatesIn(file: string): string[] {
  const blocks = readFileSync(file, 'utf8').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((pem) => new X509Certificate(pem).fingerprint256);
}

function unusableDirectory(target: string, reason: string, cause?: unknown): Problem {
  return new Problem('data_directory_unusable', { reason: `${target}: ${reason}`, cause });
}
