/**
 * Builds the package that goes onto devices: plain JavaScript for Node 20 and newer as ES module and as CommonJS, and
 * type declarations, with the contract inside so that it stands alone; and the agent in one file.
 *
 *     node bin/pinned.js device-sdk/build.ts [output directory]
 */

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build } from 'esbuild';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/**
 * Writes the agent as one file that needs nothing but Node 20 or newer: the SDK and its dependencies inside.
 * Resolves with its size in bytes.
 */
export async function buildDeviceAgent(outFile: string): Promise<number> {
  await build({
    entryPoints: [here('agent/program.ts')],
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'cjs',
    minify: true,
    keepNames: false,
    legalComments: 'none',
    banner: { js: '#!/usr/bin/env node' },
    outfile: outFile,
  });
  chmodSync(outFile, 0o755);
  return statSync(outFile).size;
}

const COMMON: BuildOptions = {
  entryPoints: [here('index.ts')],
  bundle: true,
  platform: 'node',
  target: 'node20',
  sourcemap: true,
  sourcesContent: false,
  legalComments: 'none',
  keepNames: true,
};

/** Fills `outDirectory` with index.js, index.cjs, their source maps, declarations and the licence. */
export async function buildDeviceSdk(outDirectory: string): Promise<void> {
  rmSync(outDirectory, { recursive: true, force: true });
  await build({ ...COMMON, format: 'esm', outfile: join(outDirectory, 'index.js') });
  await build({ ...COMMON, format: 'cjs', outfile: join(outDirectory, 'index.cjs') });
  writeDeclarations(outDirectory);
  copyFileSync(here('../LICENSE'), join(outDirectory, 'LICENSE'));
}

/** The SDK in one CommonJS file, small: for gateways that get a file and no package manager. */
export async function buildSingleFile(outFile: string): Promise<void> {
  await build({ ...COMMON, sourcemap: false, minify: true, format: 'cjs', outfile: outFile });
}

/**
 * TypeScript writes one declaration per source file; those of this folder and of the contract land side by side under
 * `types`, and two front pages lead there, one per module system.
 */
function writeDeclarations(outDirectory: string): void {
  const scratch = mkdtempSync(join(tmpdir(), 'rollcall-types-'));
  try {
    const config = join(scratch, 'tsconfig.json');
    writeFileSync(
      config,
      JSON.stringify({
        extends: here('../tsconfig.json'),
        compilerOptions: {
          noEmit: false,
          declaration: true,
          emitDeclarationOnly: true,
          rootDir: here('..'),
          outDir: join(outDirectory, 'types'),
          typeRoots: [here('../node_modules/@types')],
        },
        include: [],
        files: [here('index.ts')],
      }),
    );
    execFileSync(process.execPath, [here('../bin/pinned.js'), 'tsc', '-p', config], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  for (const path of readdirSync(join(outDirectory, 'types'), { recursive: true, encoding: 'utf8' })) {
    if (path.endsWith('.d.ts')) namesCompiledFiles(join(outDirectory, 'types', path));
  }
  // Declarations of CommonJS are good for both kinds of consumer; those of an ES module only for one.
  writeFileSync(join(outDirectory, 'types', 'package.json'), '{ "type": "commonjs" }\n');
  const index = "export * from './types/device-sdk/index.js';\n";
  writeFileSync(join(outDirectory, 'index.d.ts'), index);
  writeFileSync(join(outDirectory, 'index.d.cts'), index);
}

/** Declarations name the sources they came from; a consumer's compiler looks for the compiled name. */
function namesCompiledFiles(path: string): void {
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.replaceAll(/(from '\.[^']*)\.ts'/g, "$1.js'"));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const outDirectory = process.argv[2] ?? here('dist');
  await buildDeviceSdk(outDirectory);
  await buildDeviceAgent(join(outDirectory, 'rollcall-device.cjs'));
}
