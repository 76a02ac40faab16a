/** The source files of this repository, as they lie in the working tree: without git, which a bare machine lacks. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** What .gitignore names, and folders with a dot: none of it is source. */
const LEFT_OUT = new Set(['node_modules', 'data', 'device-sdk/dist']);

/** Paths relative to the repository, sorted, of files that end in one of these: `.ts`. */
export function sourceFiles(...endings: readonly string[]): readonly string[] {
  const files: string[] = [];
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (!entry.name.startsWith('.') && !LEFT_OUT.has(path)) walk(path);
      } else if (endings.some((ending) => entry.name.endsWith(ending))) {
        files.push(path);
      }
    }
  };
  walk('');
  return files.sort();
}
