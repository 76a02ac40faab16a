/** Another commit of this repository in a directory of its own, whose server runs with the packages that are installed here. */

import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const OWN_PACKAGES = '@rollcall';
const PAGES = 'console/web/dist';

export interface Checkout {
  /** What `node` runs in place of `cli/main.ts` of this tree. */
  readonly main: string;
  /** The commit, short. */
  readonly commit: string;
  readonly directory: string;
}

/** Throws where the commit is unknown, or needs other packages. */
export function checkOut(commit: string, directory: string): Checkout {
  git('clone', '--quiet', '--shared', '--no-checkout', ROOT, directory);
  git('-C', directory, 'checkout', '--quiet', '--detach', git('-C', ROOT, 'rev-parse', `${commit}^{commit}`));
  if (textOf(directory, 'package-lock.json') !== textOf(ROOT, 'package-lock.json')) {
    throw new Error(`${commit} needs other packages: run npm ci in a clone of it`);
  }
  const packages = join(directory, 'node_modules');
  mkdirSync(join(packages, OWN_PACKAGES), { recursive: true });
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (name !== OWN_PACKAGES) symlinkSync(join(ROOT, 'node_modules', name), join(packages, name));
  }
  for (const name of readdirSync(join(ROOT, 'node_modules', OWN_PACKAGES))) {
    if (existsSync(join(directory, name))) symlinkSync(join(directory, name), join(packages, OWN_PACKAGES, name));
  }
  if (existsSync(join(ROOT, PAGES))) cpSync(join(ROOT, PAGES), join(directory, PAGES), { recursive: true });
  return {
    directory,
    main: join(directory, 'cli/main.ts'),
    commit: git('-C', directory, 'rev-parse', '--short', 'HEAD'),
  };
}

/** As it is, with what is not committed. */
export function ownTree(): Checkout {
  return { directory: ROOT, main: join(ROOT, 'cli/main.ts'), commit: 'this tree' };
}

/** The newest tag; undefined without one. */
export function newestTag(): string | undefined {
  const { stdout, status } = spawnSync('git', ['-C', ROOT, 'describe', '--tags', '--abbrev=0'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}

/** Makes it a release whose tables of the registry no older code can use. */
export function addIncompatibleMigration({ directory }: Checkout): void {
  const folder = join(directory, 'registry/postgres');
  const tables = join(folder, 'tables.ts');
  const text = readFileSync(tables, 'utf8');
  const version = readdirSync(join(folder, 'migrations')).length + 1;
  const file = `${String(version).padStart(4, '0')}_renamed.sql`;
  appendFileSync(join(folder, 'migrations', file), 'ALTER TABLE group_profiles RENAME COLUMN set_by TO changed_by;\n');
  writeFileSync(tables, text.replace('\n];', `\n  { file: '${file}', oldest: ${version} },\n];`));
}

function textOf(directory: string, file: string): string {
  return readFileSync(join(directory, file), 'utf8');
}

function git(...args: readonly string[]): string {
  const { stdout, stderr, status } = spawnSync('git', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`git ${args.join(' ')}: ${stderr.trim()}`);
  return stdout.trim();
}
