/** Names of files in a backup: relative, with slashes. They never leave the directory that they are restored into. */

import { z } from 'zod';

/** The size of the name field in an archive header. */
const MAX_NAME_BYTES = 100;

/** A path segment that is empty, `.` or `..`. */
const EMPTY_OR_DOTS = /(?:^|\/)\.{0,2}(?:\/|$)/;

export function isArchivePath(name: string): boolean {
  if (Buffer.byteLength(name) > MAX_NAME_BYTES || name.includes('\\')) return false;
  for (let i = 0; i < name.length; i += 1) if (name.charCodeAt(i) < 0x20 || name.charCodeAt(i) === 0x7f) return false;
  return !EMPTY_OR_DOTS.test(name);
}

export const archivePath = z.string().refine(isArchivePath);
