/**
 * Builds the npm package that applications install: the SDK as ES module and as CommonJS for Node 20 or newer, one file
 * of declarations, and the agent. The packages protocol and output are bundled, so that it has no dependencies.
 *
 *     node bin/pinned.js device-sdk/build-package.ts [output directory]
 */

import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildDeviceAgent, sourcePath } from './build.ts';
import { LIBRARY_ENTRIES, writeLibrary } from './library-package.ts';

/** Replaces the contents of `outDirectory`. */
export async function buildPackage(outDirectory: string): Promise<void> {
  await writeLibrary({ entry: sourcePath('index.ts'), outDirectory });
  await buildDeviceAgent(join(outDirectory, 'rollcall-device.cjs'));
  writeFileSync(join(outDirectory, 'package.json'), `${JSON.stringify(packageManifest(), null, 2)}\n`);
  copyFileSync(sourcePath('README.md'), join(outDirectory, 'README.md'));
  copyFileSync(sourcePath('../LICENSE'), join(outDirectory, 'LICENSE'));
}

/** The manifest of the package: what the workspace's own says, with the built files and without dependencies. */
function packageManifest(): object {
  const { name, version, description, license, type, engines, sideEffects } = JSON.parse(
    readFileSync(sourcePath('package.json'), 'utf8'),
  );
  return {
    ...{ name, version, description, license, type, engines, sideEffects },
    ...LIBRARY_ENTRIES,
    bin: { 'rollcall-device': './rollcall-device.cjs' },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildPackage(process.argv[2] ?? sourcePath('dist'));
