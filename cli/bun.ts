/**
 * Finds Bun, which is optional: npm installs its packages per platform, as those of Node. Runs this program on it in place of
 * Node. Bun reads no file of the working directory then: neither `.env` nor `bunfig.toml`, which could load code.
 */

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Problem } from '@rollcall/protocol';
import { findPackage } from '../bin/find-package.js';
import { runInPlace } from '../bin/run.js';

/** The packages of the npm package `bun`, which itself needs its install script. Those for Linux need glibc. */
const PACKAGES: Readonly<Record<string, string>> = {
  'darwin-arm64': '@oven/bun-darwin-aarch64',
  'darwin-x64': '@oven/bun-darwin-x64',
  'linux-arm64': '@oven/bun-linux-aarch64',
  'linux-x64': '@oven/bun-linux-x64',
};

/** Before the path of a program. `--no-install`: a missing package is an error and is not downloaded. */
export const BUN_OPTIONS: readonly string[] = ['--no-env-file', '--config=/dev/null', '--no-install'];

export interface InstalledBun {
  readonly path: string;
  readonly version: string;
}

/** Undefined when Bun is not installed. */
export function findBun(): InstalledBun | undefined {
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  if (name === undefined) return undefined;
  const folder = findPackage(name);
  const path = `${folder}/bin/bun`;
  if (folder === undefined || !existsSync(path)) return undefined;
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')) as { readonly version: string };
  return { path, version };
}

/**
 * Starts the same command line again on Bun. This process is replaced; one that bin/rollcall has started as its child stays, and
 * passes on signals and the exit code. Throws Problem `config_invalid` when Bun is not installed.
 */
export async function runOnBun(): Promise<never> {
  const bun = findBun();
  if (bun === undefined) {
    throw new Problem('config_invalid', {
      reason: 'runtime: bun is not installed',
      hint: `run "npm ci" in a checkout, without --omit=optional, or "npm install ${PACKAGES[`${process.platform}-${process.arch}`] ?? 'bun'}" beside an installed package; there are packages for Linux with glibc and for macOS, on x64 and arm64`,
    });
  }
  const isChild = process.channel !== undefined;
  const program = fileURLToPath(new URL(isChild ? '../bin/child.js' : './main.ts', import.meta.url));
  runInPlace(bun.path, [...BUN_OPTIONS, program, ...process.argv.slice(2)], { ipc: isChild, asChild: isChild });
  // The process ends with its child.
  return new Promise<never>(() => {});
}
