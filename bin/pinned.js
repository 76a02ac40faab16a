#!/usr/bin/env node
// Runs a development tool, or a TypeScript file of this repository, under the pinned Node:
//   node bin/pinned.js vitest run        node bin/pinned.js test/bench/main.ts

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { findNode, NODE_NEEDED } from './find-node.js';
import { runInPlace } from './run.js';

const [program, ...args] = process.argv.slice(2);
const node = findNode();
if (node === undefined) {
  process.stderr.write(NODE_NEEDED);
  process.exit(1);
}
runInPlace(node, [programPath(program), ...args]);

function programPath(name) {
  if (name.endsWith('.ts')) return name;
  const folder = { tsc: 'typescript', biome: '@biomejs/biome' }[name] ?? name;
  const manifest = new URL(`../node_modules/${folder}/package.json`, import.meta.url);
  const { bin } = JSON.parse(readFileSync(manifest, 'utf8'));
  return fileURLToPath(new URL(typeof bin === 'string' ? bin : bin[name], manifest));
}
