/**
 * Checks who wrote a backup: the hash of its manifest is encrypted beside the keys, or the manifest is signed. Format 1
 * authenticates only its keys. It, and an encrypted backup without its passphrase, are restored only when the operator
 * accepts an unauthenticated backup.
 */

import { createHash } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import { decrypt } from './encryption.ts';
import {
  type AuditHead,
  ENCRYPTED,
  ENCRYPTED_FORMAT_1,
  type ProvenManifest,
  SIGNATURE,
  secretsFormat1Schema,
  secretsSchema,
} from './manifest.ts';
import type { ReadBackup } from './read-backup.ts';
import { type BackupTrust, expectSigned, unauthenticated } from './signature.ts';

export interface AuthenticationOptions {
  readonly passphrase: string | undefined;
  readonly trust: BackupTrust;
  readonly acceptUnauthenticated: boolean;
}

export interface AuthenticatedBackup {
  readonly provenBy: 'passphrase' | 'signature' | 'nothing';
  /** File contents in base64 by path; undefined when they were not decrypted. */
  readonly secrets: Readonly<Record<string, string>> | undefined;
}

/** Throws Problem `backup_unauthenticated`, or `backup_unusable` for another passphrase. */
export function authenticate(backup: ReadBackup, by: AuthenticationOptions): AuthenticatedBackup {
  if (backup.manifest.format === 1) return authenticateFormat1(backup, by);
  const encrypted = backup.read(ENCRYPTED);
  if (encrypted !== undefined) {
    if (by.passphrase !== undefined) return openEncrypted(encrypted, by.passphrase, backup, backup.manifest);
    if (by.acceptUnauthenticated) return { provenBy: 'nothing', secrets: undefined };
    throw unauthenticated(
      'only its passphrase authenticates this backup: give --passphrase-file, or --accept-unauthenticated if you accept that anyone may have changed it',
    );
  }
  const signature = backup.read(SIGNATURE);
  if (signature === undefined) throw unauthenticated('expected a signature or an encrypted section, found neither');
  expectSigned(signature, backup.manifestText, backup.manifest, by.trust);
  return { provenBy: 'signature', secrets: undefined };
}

function openEncrypted(
  encrypted: Buffer,
  passphrase: string,
  { manifestText }: ReadBackup,
  manifest: ProvenManifest,
): AuthenticatedBackup {
  const secrets = secretsSchema.parse(JSON.parse(decrypt(encrypted, passphrase, 2).toString()));
  if (secrets.manifest !== sha256Of(manifestText)) {
    throw unauthenticated('expected the manifest whose hash is encrypted beside the keys, found another');
  }
  if (!isSameHead(secrets.auditHead, manifest.auditHead)) {
    throw unauthenticated('expected the audit head that is encrypted beside the keys, found another');
  }
  return { provenBy: 'passphrase', secrets: secrets.files };
}

function authenticateFormat1(
  backup: ReadBackup,
  { passphrase, acceptUnauthenticated }: AuthenticationOptions,
): AuthenticatedBackup {
  if (!acceptUnauthenticated) {
    throw unauthenticated(
      'it has format 1, which does not authenticate the writer: give --accept-unauthenticated if you accept that anyone may have changed it',
    );
  }
  const file = backup.files.find(({ name }) => name === ENCRYPTED_FORMAT_1);
  if (file === undefined || passphrase === undefined) return { provenBy: 'nothing', secrets: undefined };
  const bytes = Buffer.concat([...backup.bytes(file)].map((chunk) => Buffer.from(chunk)));
  const secrets = secretsFormat1Schema.safeParse(JSON.parse(decrypt(bytes, passphrase, 1).toString()));
  if (!secrets.success) throw new Problem('backup_unusable', { detail: 'expected names of keys, found others' });
  return { provenBy: 'nothing', secrets: secrets.data };
}

export function isSameHead(one: AuditHead | null, other: AuditHead | null): boolean {
  return one?.id === other?.id && one?.hash === other?.hash;
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
