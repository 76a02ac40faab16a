/** The packages that the program needs at run time, found in the lock file and copied from node_modules. */

import { cpSync, existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/**
 * What no server needs: `device-sdk/` bundles the agent with it, and a package has the bundled agent. It would bring an executable per
 * platform. `mqtt` is the client of the service SDK, of which the command line uses the credentials alone.
 */
const BUILD_ONLY = new Set(['esbuild', 'mqtt']);

/** Folders directly below a package that hold no part of it. */
const UNUSED_FOLDERS = new Set(['.github', 'benchmark', 'benchmarks', 'docs', 'example', 'examples', 'test', 'tests']);

/** Sources from which a package was compiled, by package. */
const COMPILED_FROM: Readonly<Record<string, readonly string[]>> = { 'better-sqlite3': ['deps', 'src'], zod: ['src'] };

const NOT_READ = /^node_modules$|^\.|\.(map|[cm]?ts|test\.[cm]?js)$/;

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly link?: boolean;
  readonly resolved?: string;
}

/** Paths such as `node_modules/pino`, sorted; workspaces are not among them. Throws when the lock file lacks one. */
export function runtimePackages(repository: string): readonly string[] {
  const { packages } = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, LockedPackage>>;
  };
  const found = new Set<string>();
  const visited = new Set<string>();
  const visit = (path: string) => {
    if (visited.has(path)) return;
    visited.add(path);
    const locked = packages[path] as LockedPackage;
    if (locked.link === true) return visit(locked.resolved as string);
    if (path.startsWith('node_modules/')) found.add(path);
    for (const name of Object.keys(locked.dependencies ?? {})) {
      if (BUILD_ONLY.has(name)) continue;
      const at = nearest(path, name, packages);
      if (at === undefined) throw new Error(`expected ${name}, which ${path} needs, in package-lock.json`);
      visit(at);
    }
  };
  visit('');
  return [...found].sort();
}

/** As Node searches: below the package itself, then below each folder that contains it. */
function nearest(from: string, name: string, packages: Readonly<Record<string, LockedPackage>>): string | undefined {
  for (let folder = from; ; ) {
    const candidate = join(folder, 'node_modules', name);
    if (candidate in packages) return candidate;
    if (folder === '') return undefined;
    const above = folder.lastIndexOf('/node_modules/');
    folder = above === -1 ? '' : folder.slice(0, above);
  }
}

/** Copies them without tests, documents, settings of tools (dotfiles), declarations, source maps, and what was compiled. */
export function copyRuntimePackages(repository: string, outDirectory: string): void {
  for (const path of runtimePackages(repository)) {
    const from = join(repository, path);
    if (!existsSync(from)) throw new Error(`expected ${path}, found none: run "npm ci"`);
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const unused = new Set([...UNUSED_FOLDERS, ...(COMPILED_FROM[name] ?? [])].map((folder) => join(from, folder)));
    cpSync(from, join(outDirectory, path), {
      recursive: true,
      filter: (file) => file === from || !(unused.has(file) || NOT_READ.test(basename(file))),
    });
  }
}
