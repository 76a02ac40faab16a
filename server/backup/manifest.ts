/** The entries of a backup that describe the others: the manifest, and the entry that authenticates it. */

import { z } from 'zod';
import { archivePath } from './archive-path.ts';

export const MANIFEST = 'manifest.json';
/** Private keys and the hash of the manifest, encrypted with the passphrase. */
export const ENCRYPTED = 'secrets.encrypted';
/** The signature of the manifest, in backups without keys. */
export const SIGNATURE = 'manifest.signature';
/** Private keys in format 1, which authenticates nothing else. */
export const ENCRYPTED_FORMAT_1 = 'secrets.sealed';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

export const auditHeadSchema = z.object({ id: z.int().min(0), hash: sha256 });
/** The newest entry of the registry's audit. */
export type AuditHead = z.infer<typeof auditHeadSchema>;

const common = {
  /** The version of the program that wrote the backup. */
  version: z.string().max(64),
  takenAt: z.iso.datetime(),
  files: z.array(z.object({ name: archivePath, size: z.int().min(0), sha256 })).max(100_000),
};

export const manifestSchema = z.discriminatedUnion('format', [
  z.object({ format: z.literal(1), ...common }),
  z.object({
    format: z.literal(2),
    ...common,
    /** `null` for a registry without a chained audit. */
    auditHead: auditHeadSchema.nullable(),
  }),
]);

export type Manifest = z.infer<typeof manifestSchema>;
export type ProvenManifest = Extract<Manifest, { format: 2 }>;

const contents = z.record(archivePath, z.base64());

/** Format 1: each file's bytes in base64 by its path. */
export const secretsFormat1Schema = contents;

export const secretsSchema = z.object({
  /** SHA-256 of the bytes of the manifest in the archive. */
  manifest: sha256,
  auditHead: auditHeadSchema.nullable(),
  files: contents,
});

export const signatureSchema = z.object({
  /** ECDSA on P-256 with SHA-256, DER. */
  signature: z.base64().max(200),
  /** PEM: the certificate of the key that signed. Absent for an operator's key. */
  certificate: z.string().max(16_384).optional(),
});
