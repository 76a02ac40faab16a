/**
 * Bundles the agent, and the SDK, into single CommonJS files that need nothing but Node 20 or newer. `rollcall image`
 * puts the agent onto devices, so that esbuild is a production dependency. It is loaded when something is built. A package of
 * the server contains the bundled agent, and neither esbuild nor the agent's sources.
 */

import { chmodSync, copyFileSync, existsSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { BuildOptions } from 'esbuild';

const SINGLE_FILE: BuildOptions = {
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  minify: true,
  legalComments: 'none',
};

/** The name of the bundled agent beside this file, in a package of the server. */
export const BUNDLED_AGENT = 'rollcall-device.cjs';

/** Writes the agent to `outFile` and makes it executable. Resolves with its size in bytes. */
export async function buildDeviceAgent(outFile: string): Promise<number> {
  const bundled = sourcePath(BUNDLED_AGENT);
  if (existsSync(bundled)) copyFileSync(bundled, outFile);
  else await bundleDeviceAgent(outFile);
  chmodSync(outFile, 0o755);
  return statSync(outFile).size;
}

async function bundleDeviceAgent(outFile: string): Promise<void> {
  const { build } = await import('esbuild');
  await build({
    ...SINGLE_FILE,
    entryPoints: [sourcePath('agent/program.ts')],
    banner: { js: '#!/usr/bin/env node' },
    outfile: outFile,
  });
}

/** Writes the SDK to `outFile`, for gateways that get a file and no package manager. */
export async function buildSingleFile(outFile: string): Promise<void> {
  const { build } = await import('esbuild');
  await build({ ...SINGLE_FILE, entryPoints: [sourcePath('index.ts')], keepNames: true, outfile: outFile });
}

/** Absolute path of a file of this package. */
export function sourcePath(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}
