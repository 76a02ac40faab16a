/**
 * Builds the npm package that applications install: the SDK as ES module and as CommonJS for Node 20 or newer, and one file of
 * declarations. The packages of this repository are bundled; the npm library mqtt stays a dependency.
 *
 *     node bin/pinned.js service-sdk/build-package.ts [output directory]
 */

import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LIBRARY_ENTRIES, writeLibrary } from '@rollcall/device-sdk/library-package';

const MQTT = 'mqtt';

const sourcePath = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Replaces the contents of `outDirectory`. */
export async function buildPackage(outDirectory: string): Promise<void> {
  await writeLibrary({ entry: sourcePath('index.ts'), outDirectory, external: [MQTT] });
  writeFileSync(join(outDirectory, 'package.json'), `${JSON.stringify(packageManifest(), null, 2)}\n`);
  copyFileSync(sourcePath('README.md'), join(outDirectory, 'README.md'));
  copyFileSync(sourcePath('../LICENSE'), join(outDirectory, 'LICENSE'));
}

/** What the workspace's own manifest says, with the built files and without the bundled packages. */
function packageManifest(): object {
  const { name, version, description, license, type, engines, sideEffects, dependencies } = JSON.parse(
    readFileSync(sourcePath('package.json'), 'utf8'),
  );
  return {
    ...{ name, version, description, license, type, engines, sideEffects },
    ...LIBRARY_ENTRIES,
    dependencies: { [MQTT]: dependencies[MQTT] },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildPackage(process.argv[2] ?? sourcePath('dist'));
