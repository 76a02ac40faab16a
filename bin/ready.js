#!/usr/bin/env node
// Installs the dependencies when the lock file has changed, and builds the pages of the console when their sources have. Runs on
// any Node >= 18, before anything is installed.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findNode, NODE_NEEDED } from './find-node.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const installedFrom = `${root}node_modules/.installed-from-package-lock.json`;

/** The Debian packages of the libraries that the executable of Node loads. */
const LIBRARY_PACKAGES = {
  'libatomic.so.1': 'libatomic1',
  'libgcc_s.so.1': 'libgcc-s1',
  'libstdc++.so.6': 'libstdc++6',
};

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function fail(...lines) {
  process.stderr.write(lines.map((line) => `rollcall: ${line}\n`).join(''));
  process.exit(1);
}

function install() {
  process.stderr.write('rollcall: installing dependencies (once)\n');
  rmSync(installedFrom, { force: true });
  // Notices about the system's Node are hidden, because Rollcall installs its own.
  const npm = spawnSync('npm', ['ci', '--loglevel=error', '--no-fund', '--no-audit'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (npm.error?.code === 'ENOENT') {
    fail('error: expected npm in the path, found none', 'hint: install it, on Debian with "apt-get install npm"');
  }
  if (npm.status !== 0) fail('error: "npm ci" failed; its message is above');
}

/** Starts the installed Node, to report a missing library here. */
function tryNode() {
  const node = findNode();
  if (node === undefined) {
    process.stderr.write(NODE_NEEDED);
    process.exit(1);
  }
  const { status, stderr, error } = spawnSync(node, ['--version'], { encoding: 'utf8' });
  if (status === 0) return;
  const output = error?.message ?? stderr.trim();
  const library = Object.keys(LIBRARY_PACKAGES).find((name) => output.includes(name));
  const hint =
    library === undefined ? [] : [`hint: install it, on Debian with "apt-get install ${LIBRARY_PACKAGES[library]}"`];
  fail(`error: the installed Node does not start: ${output}`, ...hint);
}

/** The sources of the pages, and the versions that build them. */
function hashOfPages() {
  const hash = createHash('sha256').update(read(`${root}package-lock.json`) ?? '');
  const walk = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) {
        if (entry.name !== 'dist') walk(path);
      } else if (!entry.name.endsWith('.test.ts'))
        hash.update(`${path.slice(root.length)}\0`).update(readFileSync(path));
    }
  };
  walk(join(root, 'console/web'));
  return hash.digest('hex');
}

/** Without the tools, as after "npm ci --omit=dev", the pages that are there stay. */
function buildPages() {
  const builtFrom = `${root}console/web/dist/.built-from`;
  const hash = hashOfPages();
  if (read(builtFrom) === hash || !existsSync(`${root}node_modules/vite`)) return;
  const args = [`${root}bin/pinned.js`, `${root}console/web/build-pages.ts`];
  const build = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (build.status !== 0) fail('error: the pages of the console were not built; the message is above');
  writeFileSync(builtFrom, hash);
}

const wanted = read(`${root}package-lock.json`);
if (wanted !== undefined && read(installedFrom) !== wanted) {
  install();
  tryNode();
  writeFileSync(installedFrom, wanted);
}
buildPages();
