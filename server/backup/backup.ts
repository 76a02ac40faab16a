/**
 * Writes a backup of a data directory into one file, whether a server runs or not, and verifies it before the file gets its name.
 * It needs no server: SQLite gives a consistent read of a database that another process writes.
 */

import { createHash } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Problem } from '@rollcall/protocol';
import type { Database } from 'better-sqlite3';
import { syncDirectory } from '../../storage/index.ts';
import { sha256Of } from './authentication.ts';
import { contentsOf } from './contents.ts';
import { isDatabase, withDatabaseSnapshot } from './database-copy.ts';
import { encrypt } from './encryption.ts';
import { type AuditHead, ENCRYPTED, MANIFEST, type ProvenManifest, SIGNATURE } from './manifest.ts';
import { readBackup } from './read-backup.ts';
import { type BackupSigner, signManifest } from './signature.ts';
import { bytesOf, TarWriter } from './tar.ts';

export interface BackupOptions {
  /** The data directory. */
  readonly data: string;
  /** Must not exist. */
  readonly file: string;
  /** Encrypts the private keys and proves the rest, or signs a backup without keys. */
  readonly protection: { readonly passphrase: string } | { readonly signer: BackupSigner };
  /** The audit head of a registry; null for one without a chained audit. */
  readonly auditHead: (registry: Database) => AuditHead | null;
  readonly version: string;
  readonly now: () => number;
}

/** Throws Problem `data_directory_unusable`, `backup_exists` or `backup_failed`, and leaves no file then. */
export async function backUp(options: BackupOptions): Promise<ProvenManifest> {
  const { data, file, now } = options;
  const target = resolve(file);
  expectFleet(data);
  if (statSync(target, { throwIfNoEntry: false }) !== undefined) throw new Problem('backup_exists', { reason: target });
  const [partial, draft] = [`${target}.partial`, `${target}.partial-copy`];
  const removeDrafts = () => {
    for (const path of [partial, draft]) rmSync(path, { force: true });
  };
  try {
    removeDrafts();
    const descriptor = openSync(partial, 'wx+', 0o600);
    let manifest: ProvenManifest;
    try {
      manifest = await write({ ...options, descriptor, draft, takenAt: now() });
      fsyncSync(descriptor);
      expectAsWritten(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(partial, target);
    syncDirectory(dirname(target));
    return manifest;
  } catch (error) {
    throw failure(error, target);
  } finally {
    removeDrafts();
  }
}

/** Reads the backup and checks the hash of every file. */
function expectAsWritten(descriptor: number): void {
  const { files, bytes } = readBackup(descriptor);
  for (const file of files) for (const _ of bytes(file));
}

interface WriteOptions extends BackupOptions {
  readonly descriptor: number;
  readonly draft: string;
  readonly takenAt: number;
}

async function write(options: WriteOptions): Promise<ProvenManifest> {
  const { descriptor, draft, data, protection, version, takenAt } = options;
  let auditHead: AuditHead | null = null;
  const tar = new TarWriter(descriptor);
  const files: ProvenManifest['files'][number][] = [];
  const add = (name: string, size: number, chunks: Iterable<Uint8Array>) => {
    const hash = createHash('sha256');
    const hashed = function* () {
      for (const chunk of chunks) {
        hash.update(chunk);
        yield chunk;
      }
    };
    tar.add(name, { size, modifiedAt: takenAt }, hashed());
    files.push({ name, size, sha256: hash.digest('hex') });
  };
  const addFile = (name: string, path: string) => {
    const source = openSync(path, 'r');
    try {
      const { size } = fstatSync(source);
      add(name, size, bytesOf(source, 0, size));
    } finally {
      closeSync(source);
    }
  };
  for (const name of contentsOf(data).files) {
    const path = join(data, name);
    try {
      if (name.endsWith('.damaged') || !isDatabase(path)) addFile(name, path);
      else
        withDatabaseSnapshot(path, draft, (snapshotFile, snapshot) => {
          if (name === 'registry.db') auditHead = options.auditHead(snapshot);
          addFile(name, snapshotFile);
        });
    } catch (error) {
      if (!isGone(path)) throw error; // retention may remove a segment meanwhile
    }
    for (const path of [draft, `${draft}-wal`, `${draft}-shm`]) rmSync(path, { force: true });
  }
  const manifest: ProvenManifest = { format: 2, version, takenAt: new Date(takenAt).toISOString(), auditHead, files };
  const manifestText = Buffer.from(`${JSON.stringify(manifest, undefined, 2)}\n`);
  const addUnlisted = (name: string, bytes: Buffer) =>
    tar.add(name, { size: bytes.length, modifiedAt: takenAt }, [bytes]);
  addUnlisted(MANIFEST, manifestText);
  if ('passphrase' in protection) {
    // Listed after the registry was copied, so that every key that the copy names is included.
    const secrets = contentsOf(data).secrets.map((name) => [name, readFileSync(join(data, name), 'base64')]);
    const plain = { manifest: sha256Of(manifestText), auditHead, files: Object.fromEntries(secrets) };
    addUnlisted(ENCRYPTED, encrypt(Buffer.from(JSON.stringify(plain)), protection.passphrase));
  } else {
    addUnlisted(SIGNATURE, await signManifest(manifestText, protection.signer));
  }
  tar.end();
  return manifest;
}

function expectFleet(data: string): void {
  if (statSync(join(data, 'registry.db'), { throwIfNoEntry: false }) !== undefined) return;
  throw new Problem('data_directory_unusable', {
    reason: `${resolve(data)}: expected a fleet's data directory, found no registry.db`,
    hint: 'name it with --data DIR',
  });
}

function isGone(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) === undefined;
}

function failure(error: unknown, target: string): unknown {
  if (error instanceof Problem && error.code !== 'backup_unusable') return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT' || code?.startsWith('SQLITE_FULL') === true;
  return new Problem('backup_failed', {
    ...(isFull && { detail: 'there is not enough space for the backup on the target disk; no file was left' }),
    reason: `${target}: ${message}`,
    cause: error,
  });
}
