/** The last file of a backup: what else is in it. */

import { z } from 'zod';

export const MANIFEST = 'manifest.json';
export const SEALED = 'secrets.sealed';

export const manifestSchema = z.object({
  format: z.literal(1),
  /** Of the program that wrote it. */
  version: z.string(),
  takenAt: z.iso.datetime(),
  files: z.array(
    z.object({
      name: z.string(),
      size: z.int().min(0),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
});

export type Manifest = z.infer<typeof manifestSchema>;

/** Sealed, as JSON: each file's bytes in base64 by its path. */
export const secretsSchema = z.record(z.string(), z.base64());
