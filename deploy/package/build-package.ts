/**
 * Builds the npm package of the whole program: JavaScript, every package that it needs at run time, and the agent for images. It
 * installs without a registry, in an empty directory, on Node 24.21 or newer: `npm install ./rollcall-0.1.0.tgz`.
 *
 *     node bin/pinned.js deploy/package/build-package.ts [output directory]
 */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeProgram } from './program-files.ts';
import { copyRuntimePackages } from './runtime-packages.ts';

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));

/** Writes the program and its packages into `outDirectory`, which it creates: what runs from `bin/rollcall` there. */
export async function writeInstallation(outDirectory: string): Promise<void> {
  mkdirSync(outDirectory, { recursive: true });
  await writeProgram(REPOSITORY, outDirectory);
  copyRuntimePackages(REPOSITORY, outDirectory);
}

/** Returns the path of the tarball, in `outDirectory`. */
export async function buildPackage(outDirectory: string): Promise<string> {
  mkdirSync(outDirectory, { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'rollcall-package-'));
  try {
    await writeInstallation(join(work, 'package'));
    const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', resolve(outDirectory)], {
      cwd: join(work, 'package'),
      encoding: 'utf8',
    });
    return join(outDirectory, packed.trim());
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const outDirectory = process.argv[2] ?? join(REPOSITORY, 'deploy/dist');
  process.stdout.write(`${await buildPackage(outDirectory)}\n`);
}
