// Finds an installed package as Node does: below this program's folder, or beside it where npm installed Rollcall as a package.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Folder of the package, or undefined. */
export function findPackage(name) {
  for (let folder = fileURLToPath(new URL('..', import.meta.url)); ; folder = dirname(folder)) {
    const found = join(folder, 'node_modules', name);
    if (existsSync(found)) return found;
    if (folder === dirname(folder)) return undefined;
  }
}
