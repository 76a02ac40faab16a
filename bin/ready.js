#!/usr/bin/env node
// Installs what the lock file names and node_modules lacks. Runs on any Node >= 18, before anything is installed.

import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const installedFrom = `${root}node_modules/.installed-from-package-lock.json`;

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

const wanted = read(`${root}package-lock.json`);
if (wanted !== undefined && read(installedFrom) !== wanted) {
  process.stderr.write('rollcall: installing dependencies (once)\n');
  rmSync(installedFrom, { force: true });
  // Notices about the machine's own Node are silenced: Rollcall brings its own.
  const npm = spawnSync('npm', ['ci', '--loglevel=error', '--no-fund', '--no-audit'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (npm.status !== 0) {
    process.stderr.write('rollcall: error: npm ci failed; its own message stands above\n');
    process.exit(1);
  }
  writeFileSync(installedFrom, wanted);
}
