/** Files of an image, and the manifest by which an image is verified without the server. */

import { createHash } from 'node:crypto';
import { lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import { z } from 'zod';
export const MANIFEST = 'manifest.json';
export const TOKEN = 'token';

/** Permission bits by name; everything else is 0644. */
export const MODES: Readonly<Record<string, number>> = {
  'install.sh': 0o755,
  'firstrun.sh': 0o755,
  'rollcall-device.cjs': 0o755,
  node: 0o755,
  [TOKEN]: 0o600,
};

const manifestShape = z.strictObject({
  format: z.literal('rollcall-image/1'),
  madeAt: z.iso.datetime(),
  version: z.string(),
  group: z.string(),
  /** Undefined for an image that many devices share. */
  device: z.string().optional(),
  enrollUrl: z.string(),
  rootSha256: z.string().regex(/^[0-9a-f]{64}$/),
  token: z.strictObject({ id: z.string(), maxUses: z.int(), expiresAt: z.iso.datetime() }),
  /** SHA-256 of each file but the token and this one, lower-case hexadecimal. */
  files: z.record(z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/), z.string().regex(/^[0-9a-f]{64}$/)),
});

export type ImageManifest = z.infer<typeof manifestShape>;

const MANIFEST_MAX_BYTES = 64 * 1024;

/** Throws Problem `usage` when the manifest is missing or malformed. */
export function readManifest(directory: string): ImageManifest {
  const path = join(directory, MANIFEST);
  let value: unknown;
  try {
    if (lstatSync(path).size > MANIFEST_MAX_BYTES) throw new Error(`longer than ${MANIFEST_MAX_BYTES} bytes`);
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const why = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    throw new Problem('usage', { reason: `expected an image in ${directory}, found no ${MANIFEST}: ${why}` });
  }
  const checked = manifestShape.safeParse(value);
  if (checked.success) return checked.data;
  const [issue] = checked.error.issues;
  throw new Problem('usage', { reason: `${path}: ${issue?.path.join('.')}: ${issue?.message}` });
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
