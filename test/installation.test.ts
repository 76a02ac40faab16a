/** `npm ci` on a machine with only Node and npm installs the packages of its platform, and runs no install script. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { rollcall } from './fixtures/program.ts';
import { temporaryDirectory } from './fixtures/temporary.ts';

interface LockedPackage {
  readonly resolved?: string;
  /** Set for a workspace, whose `resolved` is its folder. */
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const locked: Readonly<Record<string, LockedPackage>> = JSON.parse(read('package-lock.json')).packages;

it('the lock file lists the packages of all platforms, not only those of the machine it was written on', () => {
  const absent = Object.entries(locked).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      (name) => !(`node_modules/${name}` in locked || `${path}/node_modules/${name}` in locked),
    ),
  );
  expect(absent).toEqual([]);
});

it('the lock file names no registry', () => {
  expect(Object.entries(locked).filter(([, { link, resolved }]) => !link && resolved !== undefined)).toEqual([]);
});

it('no install script runs, and only packages that work without theirs have one', () => {
  expect(read('.npmrc').split('\n')).toContain('ignore-scripts=true');
  const withScript = Object.keys(locked).filter((path) => locked[path]?.hasInstallScript);
  // esbuild brings its executable as a package per platform; pkcs11js is compiled on request.
  expect(withScript).toEqual(['node_modules/esbuild', 'node_modules/pkcs11js']);
});

it('an installation without development packages has the Node that runs Rollcall', () => {
  const isNode = (path: string) => /^node_modules\/node-(bin-)?(linux|darwin)-/.test(path);
  const nodes = Object.keys(locked).filter(isNode);
  expect(nodes).toHaveLength(4);
  expect(nodes.filter((path) => locked[path]?.dev === true)).toEqual([]);
});

it('the installed Node needs no library that a minimal Debian lacks', () => {
  // The names of the required libraries are in the first megabytes of the executable.
  const start = readFileSync(process.execPath).subarray(0, 32 * 1024 * 1024);
  const names = new Set(start.toString('latin1').match(/(?<=\0)(lib[a-z_+]+\.so\.\d+)(?=\0)/g));
  const minimal = ['libc.so.6', 'libdl.so.2', 'libgcc_s.so.1', 'libm.so.6', 'libpthread.so.0', 'libstdc++.so.6'];
  if (process.platform === 'linux') expect([...names].sort()).toEqual(minimal);
});

it('a server with keys in a PKCS#11 token reports how to compile the addon when it was not compiled', async () => {
  const directory = temporaryDirectory();
  const hooks = `import { registerHooks } from 'node:module';
    registerHooks({ resolve(name, context, next) {
      if (name === 'pkcs11js') throw new Error('Cannot find module ./build/Release/pkcs11.node');
      return next(name, context);
    } });`;
  const config = join(directory, 'rollcall.yaml');
  const token = `{ module: /none.so, token: t, pinFile: ${directory}/pin }`;
  writeFileSync(config, `certificates:\n  keys:\n    home: pkcs11\n    pkcs11: ${token}\n`);
  const { code, stderr } = await rollcall(['serve', '--config', config, '--data', join(directory, 'data')], {
    environment: { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hooks)}` },
  });
  expect(stderr).toContain('expected the addon pkcs11js');
  expect(stderr).toContain('npm run build:pkcs11');
  expect(code).not.toBe(0);
});
