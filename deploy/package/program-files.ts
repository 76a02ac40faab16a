/** Writes the program as JavaScript: the modules of the server, the command line and the simulator, with the files that they read. */

import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { BUNDLED_AGENT, buildDeviceAgent } from '../../device-sdk/build.ts';
import { toJavaScript } from './to-javascript.ts';

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly released: string;
  readonly description: string;
  readonly license: string;
  readonly engines: object;
  readonly exports: Readonly<Record<string, string>>;
  readonly bin: object;
  readonly workspaces: readonly string[];
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** Folders of the repository that are no part of the running program. */
const NOT_INSTALLED = new Set(['deploy', 'docs', 'node_modules', 'test']);
/** Files that only a checkout needs: they install, build and document. */
const CHECKOUT_ONLY =
  /^bin\/(build-pkcs11|pinned|ready)\.js$|^(device|service)-sdk\/examples\/|^(device|service)-sdk\/(api-reference|build-package|library-package)\.ts$/;
const NOT_READ = /\.(test|d)\.ts$|\.md$|\.png$/;
/** Installed as it was built: its sources are not, beside the list of pages that the console reads. */
const PAGES = 'console/web';
const ROOT_FILES = ['LICENSE', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'rollcall.example.yaml'];
/** Compiled or large, and needed by few, who install it beside the package. */
const OPTIONAL_PEERS = ['pkcs11js'];

export function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
}

/** Expects `outDirectory` to be empty. The workspaces that the program uses are written below its node_modules. */
export async function writeProgram(repository: string, outDirectory: string): Promise<void> {
  const manifest = readManifest(repository);
  const workspaces = new Map(
    manifest.workspaces
      .map((folder) => [folder, readManifest(join(repository, folder))] as const)
      .filter(([, { name }]) => name in (manifest.dependencies ?? {})),
  );
  for (const path of programFiles(repository)) {
    const workspace = manifest.workspaces.find((folder) => path.startsWith(`${folder}/`));
    const name = workspace === undefined ? undefined : workspaces.get(workspace)?.name;
    // A package of applications that the program does not use.
    if (workspace !== undefined && name === undefined) continue;
    const place = name === undefined ? path : join('node_modules', name, path.slice((workspace as string).length + 1));
    writeProgramFile(join(repository, path), join(outDirectory, place));
  }
  for (const workspace of workspaces.values()) {
    writeJson(join(outDirectory, 'node_modules', workspace.name, 'package.json'), workspaceManifest(workspace));
  }
  for (const name of ROOT_FILES) copyFileSync(join(repository, name), join(outDirectory, name));
  writeJson(join(outDirectory, 'package.json'), packageManifest(manifest));
  await buildDeviceAgent(join(outDirectory, 'node_modules/@rollcall/device-sdk', BUNDLED_AGENT));
}

/** Paths relative to the repository. */
function programFiles(repository: string): readonly string[] {
  const files: string[] = [`${PAGES}/navigation.ts`, ...builtPages(repository)];
  const walk = (folder: string) => {
    for (const entry of readdirSync(join(repository, folder), { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.name.startsWith('.') || NOT_INSTALLED.has(path) || path === PAGES || entry.name === 'dist') continue;
      if (entry.isDirectory()) walk(path);
      else if (folder !== '' && !CHECKOUT_ONLY.test(path) && !NOT_READ.test(path)) files.push(path);
    }
  };
  walk('');
  return files.filter((path) => !path.endsWith('package.json')).sort();
}

/** Throws where they were not built. */
function builtPages(repository: string): readonly string[] {
  const names = readdirSync(join(repository, PAGES, 'dist'), { recursive: true, encoding: 'utf8' });
  return names
    .map((name) => join(PAGES, 'dist', name))
    .filter((path) => !/\/\.[^/]*$/.test(path) && statSync(join(repository, path)).isFile());
}

function writeProgramFile(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  const isBuilt = from.includes(`${PAGES}/dist/`);
  const isCode = (/\.(ts|js)$/.test(from) && !isBuilt) || from.endsWith('bin/rollcall');
  if (!isCode) {
    copyFileSync(from, to);
    return;
  }
  const path = to.replace(/\.ts$/, '.js');
  writeFileSync(path, toJavaScript(readFileSync(from, 'utf8')));
  chmodSync(path, statSync(from).mode & 0o777);
}

function workspaceManifest({ name, version, license, exports }: Manifest): object {
  const compiled = Object.entries(exports).map(([entry, path]) => [entry, path.replace(/\.ts$/, '.js')]);
  return { name, version, license, type: 'module', exports: Object.fromEntries(compiled) };
}

/** All packages that it needs are inside it, so that it is installed without a registry and as it was tested. */
function packageManifest(manifest: Manifest): object {
  const { name, version, released, description, license, engines, bin, dependencies = {} } = manifest;
  const peers = OPTIONAL_PEERS.map((peer) => [peer, manifest.optionalDependencies?.[peer]]);
  return {
    ...{ name, version, released, description, license, type: 'module', engines, bin },
    dependencies,
    bundleDependencies: Object.keys(dependencies),
    peerDependencies: Object.fromEntries(peers),
    peerDependenciesMeta: Object.fromEntries(OPTIONAL_PEERS.map((peer) => [peer, { optional: true }])),
  };
}

function writeJson(path: string, value: object): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
