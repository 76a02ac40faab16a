/** Writes an entry file and what it imports as a library for applications: an ES module and CommonJS for Node 20 or newer, and declarations. */

import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { build as bundle } from 'rolldown';
import { dts } from 'rolldown-plugin-dts';

export interface Library {
  /** Path of the entry file. */
  readonly entry: string;
  /** Its contents are replaced. */
  readonly outDirectory: string;
  /** Packages that stay dependencies; every other one is bundled. */
  readonly external?: readonly string[];
}

/** The entries of a manifest for what {@link writeLibrary} writes. */
export const LIBRARY_ENTRIES = {
  main: './index.cjs',
  module: './index.js',
  types: './index.d.ts',
  exports: {
    '.': {
      import: { types: './index.d.ts', default: './index.js' },
      require: { types: './index.d.cts', default: './index.cjs' },
    },
  },
} as const;

export async function writeLibrary(library: Library): Promise<void> {
  const { outDirectory } = library;
  rmSync(outDirectory, { recursive: true, force: true });
  mkdirSync(outDirectory, { recursive: true });
  await writeModule(library, 'esm', join(outDirectory, 'index.js'));
  await writeModule(library, 'cjs', join(outDirectory, 'index.cjs'));
  await writeDeclarations(library);
}

async function writeModule({ entry, external = [] }: Library, format: 'esm' | 'cjs', outFile: string): Promise<void> {
  await build({
    entryPoints: [entry],
    external: [...external],
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
async function writeDeclarations({ entry, outDirectory, external = [] }: Library): Promise<void> {
  await bundle({
    input: entry,
    external: [...external],
    platform: 'node',
    plugins: [dts({ emitDtsOnly: true, generator: 'oxc', tsconfig: false })],
    output: { dir: outDirectory },
  });
  copyFileSync(join(outDirectory, 'index.d.ts'), join(outDirectory, 'index.d.cts'));
}
