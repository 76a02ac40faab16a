/** Reads a backup: that every byte of it is what was written, before anything is done with it. */

import { createHash } from 'node:crypto';
import { Problem } from '../contract/problem.ts';
import { MANIFEST, type Manifest, manifestSchema } from './manifest.ts';
import { bytesOf, type TarEntry, tarEntries } from './tar.ts';

export interface ReadBackup {
  readonly manifest: Manifest;
  readonly entries: ReadonlyMap<string, TarEntry>;
}

/** Throws Problem `backup_unusable` that says what was expected. */
export function readManifest(descriptor: number): ReadBackup {
  try {
    const entries = new Map<string, TarEntry>();
    for (const entry of tarEntries(descriptor)) entries.set(entry.name, entry);
    const last = entries.get(MANIFEST);
    if (last === undefined) throw new RangeError(`expected ${MANIFEST} in it, found none`);
    entries.delete(MANIFEST);
    const text = Buffer.concat([...bytesOf(descriptor, last.at, last.size)].map((chunk) => Buffer.from(chunk)));
    const manifest = manifestSchema.parse(JSON.parse(text.toString()));
    if (manifest.files.length !== entries.size)
      throw new RangeError(`expected ${manifest.files.length} files, found ${entries.size}`);
    for (const { name, size, sha256 } of manifest.files) {
      const entry = entries.get(name);
      if (entry === undefined || entry.size !== size) throw new RangeError(`expected ${size} bytes of ${name}`);
      const hash = createHash('sha256');
      for (const chunk of bytesOf(descriptor, entry.at, size)) hash.update(chunk);
      if (hash.digest('hex') !== sha256) throw new RangeError(`expected ${name} as it was written, found other bytes`);
    }
    return { manifest, entries };
  } catch (cause) {
    const detail = cause instanceof RangeError ? cause.message : 'expected a backup of Rollcall, found something else';
    throw new Problem('backup_unusable', { detail, cause });
  }
}
