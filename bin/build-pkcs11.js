#!/usr/bin/env node
// Compiles the optional addon pkcs11js, which is needed for CA keys in a PKCS#11 token. Rollcall compiles nothing else.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { findNode, findNodePackage } from './find-node.js';

const TOOLS = { 'c++': 'g++', make: 'make', python3: 'python3' };

function fail(...lines) {
  process.stderr.write(lines.map((line) => `rollcall: ${line}\n`).join(''));
  process.exit(1);
}

const missing = Object.keys(TOOLS).filter((tool) => spawnSync(tool, ['--version']).status !== 0);
if (missing.length > 0) {
  const packages = missing.map((tool) => TOOLS[tool]).join(' ');
  fail(
    `error: pkcs11js must be compiled, and these tools are missing: ${missing.join(', ')}`,
    `hint: on Debian, "apt-get install ${packages}"`,
  );
}
const headers = findNodePackage();
// Scripts are off in .npmrc and needed here. The headers come with the installed Node, not from the network.
const args = ['rebuild', 'pkcs11js', '--ignore-scripts=false', '--loglevel=error', '--foreground-scripts'];
if (headers !== undefined) args.push(`--nodedir=${headers}`);
const npm = spawnSync('npm', args, { cwd: fileURLToPath(new URL('..', import.meta.url)), stdio: ['ignore', 2, 2] });
if (npm.status !== 0) fail('error: pkcs11js could not be compiled; the message is above');
const load = `require(${JSON.stringify(fileURLToPath(new URL('../node_modules/pkcs11js', import.meta.url)))})`;
if (spawnSync(findNode() ?? process.execPath, ['-e', load], { stdio: ['ignore', 2, 2] }).status !== 0) {
  fail('error: pkcs11js was compiled and cannot be loaded; the message is above');
}
process.stderr.write('rollcall: pkcs11js is compiled; "npm ci" removes it\n');
