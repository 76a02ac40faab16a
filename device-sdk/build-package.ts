/**
 * Builds the npm package that applications install: the SDK as ES module and as CommonJS for Node 20 or newer, one file
 * of declarations, and the agent. The packages protocol and output are bundled, so that it has no dependencies.
 *
 *     node bin/pinned.js device-sdk/build-package.ts [output directory]
 */

import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { build as bundle } from 'rolldown';
import { dts } from 'rolldown-plugin-dts';
import { buildDeviceAgent, sourcePath } from './build.ts';

/** Replaces the contents of `outDirectory`. */
export async function buildPackage(outDirectory: string): Promise<void> {
  rmSync(outDirectory, { recursive: true, force: true });
  mkdirSync(outDirectory, { recursive: true });
  await writeModule(join(outDirectory, 'index.js'), 'esm');
  await writeModule(join(outDirectory, 'index.cjs'), 'cjs');
  await writeDeclarations(outDirectory);
  await buildDeviceAgent(join(outDirectory, 'rollcall-device.cjs'));
  writeFileSync(join(outDirectory, 'package.json'), `${JSON.stringify(packageManifest(), null, 2)}\n`);
  copyFileSync(sourcePath('README.md'), join(outDirectory, 'README.md'));
  copyFileSync(sourcePath('../LICENSE'), join(outDirectory, 'LICENSE'));
}

async function writeModule(outFile: string, format: 'esm' | 'cjs'): Promise<void> {
  await build({
    entryPoints: [sourcePath('index.ts')],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format,
    sourcemap: true,
    sourcesContent: false,
    legalComments: 'none',
    keepNames: true,
    outfile: outFile,
  });
}

/** Each module system has declarations of its own name. TypeScript takes a declaration file for what its name says. */
async function writeDeclarations(outDirectory: string): Promise<void> {
  await bundle({
    input: sourcePath('index.ts'),
    platform: 'node',
    plugins: [dts({ emitDtsOnly: true, generator: 'oxc', tsconfig: false })],
    output: { dir: outDirectory },
  });
  copyFileSync(join(outDirectory, 'index.d.ts'), join(outDirectory, 'index.d.cts'));
}

/** The manifest of the package: what the workspace's own says, with the built files and without dependencies. */
function packageManifest(): object {
  const { name, version, description, license, type, engines, sideEffects } = JSON.parse(
    readFileSync(sourcePath('package.json'), 'utf8'),
  );
  return {
    ...{ name, version, description, license, type, engines, sideEffects },
    main: './index.cjs',
    module: './index.js',
    types: './index.d.ts',
    exports: {
      '.': {
        import: { types: './index.d.ts', default: './index.js' },
        require: { types: './index.d.cts', default: './index.cjs' },
      },
    },
    bin: { 'rollcall-device': './rollcall-device.cjs' },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildPackage(process.argv[2] ?? sourcePath('dist'));
