/**
 * Builds the Debian package: the program as JavaScript, its run-time packages, the Node that it runs on, and a unit of systemd. Needs
 * dpkg-deb, and binutils to remove symbols from Node.
 *
 *     node bin/pinned.js deploy/debian/build-deb.ts [--arch amd64|arm64] [--fast] [output directory]
 *
 * `--fast` compresses less.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { REPOSITORY, writeInstallation } from '../package/build-package.ts';
import { readManifest } from '../package/program-files.ts';
import { writeCommandDocuments } from './command-documents.ts';
import { type Platform, writeNode } from './node-executable.ts';

const PLATFORMS = { amd64: 'linux-x64', arm64: 'linux-arm64' } as const satisfies Record<string, Platform>;
export type Architecture = keyof typeof PLATFORMS;

const FILES = fileURLToPath(new URL('files/', import.meta.url));
const MAINTAINER_SCRIPTS = ['postinst', 'prerm', 'postrm'];
const DOCUMENTS = ['README.md', 'CHANGELOG.md', 'SECURITY.md'];
const PROGRAM = 'usr/lib/rollcall';
const COMPILED_ADDON = 'build/Release/pkcs11.node';
const DOC = 'usr/share/doc/rollcall';

export interface DebOptions {
  readonly architecture: Architecture;
  readonly outDirectory: string;
  /** Compress in seconds instead of a minute. */
  readonly isFast: boolean;
}

/** Returns the path of the package. */
export async function buildDeb({ architecture, outDirectory, isFast }: DebOptions): Promise<string> {
  mkdirSync(outDirectory, { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'rollcall-deb-'));
  const root = join(work, 'root');
  try {
    await writeRoot(root, architecture);
    const { version } = readManifest(REPOSITORY);
    const file = join(outDirectory, `rollcall_${version}_${architecture}.deb`);
    const compression = isFast ? ['-Zgzip', '-z1'] : ['-Zxz'];
    execFileSync('dpkg-deb', ['--root-owner-group', ...compression, '--build', root, file], { stdio: 'pipe' });
    return file;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function writeRoot(root: string, architecture: Architecture): Promise<void> {
  const at = (path: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    return join(root, path);
  };
  const manifest = readManifest(REPOSITORY);
  const platform = PLATFORMS[architecture];
  await writeInstallation(at(PROGRAM));
  const addons = join(root, PROGRAM, 'node_modules/better-sqlite3/prebuilds');
  keepPrebuilt(addons, platform);
  copyTokenAddon(join(root, PROGRAM), platform);
  for (const name of [...DOCUMENTS, 'LICENSE', 'rollcall.example.yaml']) rmSync(join(root, PROGRAM, name));
  // The Node beside it starts cli/main.js.
  for (const name of ['rollcall', 'child.js', 'find-node.js']) rmSync(join(root, PROGRAM, 'bin', name));

  const license = join(dirname(root), 'LICENSE.node');
  writeNode(REPOSITORY, platform, { executable: join(root, PROGRAM, 'bin/node'), license });
  // Symbols are a seventh of it. The binutils of another architecture may not be installed.
  const executables = [join(root, PROGRAM, 'bin/node'), join(addons, `${platform}.node`)];
  spawnSync('strip', ['--strip-unneeded', ...executables], { stdio: 'ignore' });

  cpSync(join(FILES, 'rollcall'), at('usr/bin/rollcall'));
  cpSync(join(FILES, 'rollcall.service'), at('lib/systemd/system/rollcall.service'));
  cpSync(join(FILES, 'rollcall.yaml'), at('etc/rollcall/rollcall.yaml'));
  cpSync(join(FILES, 'copyright'), at(`${DOC}/copyright`));
  cpSync(join(REPOSITORY, 'rollcall.example.yaml'), at(`${DOC}/rollcall.example.yaml`));
  cpSync(join(REPOSITORY, 'deploy/prometheus/rollcall-alerts.yml'), at(`${DOC}/rollcall-alerts.yml`));
  cpSync(join(REPOSITORY, 'deploy/grafana/rollcall.json'), at(`${DOC}/grafana-dashboard.json`));
  const compressed = (name: string, text: Buffer | string) =>
    writeFileSync(at(`${DOC}/${name}.gz`), gzipSync(text, { level: 9 }));
  for (const name of DOCUMENTS) compressed(name, readFileSync(join(REPOSITORY, name)));
  compressed('LICENSE.node', readFileSync(license));
  compressed('changelog', changelog(manifest.version, manifest.released));
  writeCommandDocuments(REPOSITORY, root);

  setModes(root);
  writeControl(root, { architecture, version: manifest.version });
  const released = new Date(manifest.released);
  for (const path of contents(root)) utimesSync(path, released, released);
}

/** The prebuilt addon of one platform, of glibc. */
function keepPrebuilt(folder: string, platform: Platform): void {
  for (const name of readdirSync(folder)) if (name !== `${platform}.node`) rmSync(join(folder, name));
}

/**
 * The addon for CA keys in a PKCS#11 token, where `npm run build:pkcs11` has compiled it; it runs on the architecture of this machine alone.
 */
function copyTokenAddon(program: string, platform: Platform): void {
  const folder = 'node_modules/pkcs11js';
  if (!existsSync(join(REPOSITORY, folder, COMPILED_ADDON)) || platform !== `linux-${process.arch}`) return;
  for (const file of ['package.json', 'index.js', 'LICENSE', COMPILED_ADDON]) {
    cpSync(join(REPOSITORY, folder, file), join(program, folder, file));
  }
}

/** Files 0644 and folders 0755, whatever the umask of this machine and of the makers of packages; programs 0755. */
function setModes(root: string): void {
  const programs = new Set(['usr/bin/rollcall', `${PROGRAM}/bin/node`].map((path) => join(root, path)));
  for (const path of contents(root)) {
    chmodSync(path, statSync(path).isDirectory() || programs.has(path) ? 0o755 : 0o644);
  }
  chmodSync(root, 0o755);
}

function writeControl(
  root: string,
  { architecture, version }: { readonly architecture: Architecture; readonly version: string },
): void {
  const files = contents(root).filter((path) => statSync(path).isFile());
  const bytes = files.reduce((sum, path) => sum + statSync(path).size, 0);
  const sums = files.map((path) => {
    const sum = createHash('md5').update(readFileSync(path)).digest('hex');
    return `${sum}  ${path.slice(root.length + 1)}\n`;
  });
  const control = join(root, 'DEBIAN');
  mkdirSync(control);
  const write = (name: string, text: string, mode: number) => writeFileSync(join(control, name), text, { mode });
  write(
    'control',
    [
      'Package: rollcall',
      `Version: ${version}`,
      `Architecture: ${architecture}`,
      'Maintainer: Rollcall maintainers <maintainers@rollcall.invalid>',
      `Installed-Size: ${Math.ceil(bytes / 1024)}`,
      'Depends: adduser, libc6 (>= 2.28), libgcc-s1, libstdc++6',
      'Recommends: systemd',
      'Section: net',
      'Priority: optional',
      'Description: MQTT broker with a built-in EST certificate authority',
      ' Devices present a bootstrap token, receive a client certificate, connect over',
      ' mutual TLS and use the topics that their policy allows. Acknowledged messages',
      ' are on disk. It carries the Node.js that it runs on.',
      '',
    ].join('\n'),
    0o644,
  );
  write('conffiles', '/etc/rollcall/rollcall.yaml\n', 0o644);
  write('md5sums', sums.join(''), 0o644);
  for (const name of MAINTAINER_SCRIPTS) write(name, readFileSync(join(FILES, name), 'utf8'), 0o755);
  for (const name of MAINTAINER_SCRIPTS) chmodSync(join(control, name), 0o755);
}

function changelog(version: string, released: string): string {
  const date = new Date(released).toUTCString().replace('GMT', '+0000');
  return [
    `rollcall (${version}) unstable; urgency=medium`,
    '',
    '  * CHANGELOG.md.gz lists the changes.',
    '',
    ` -- Rollcall maintainers <maintainers@rollcall.invalid>  ${date}`,
    '',
  ].join('\n');
}

function contents(root: string): readonly string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((path) => join(root, path))
    .sort();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    options: { arch: { type: 'string' }, fast: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  const architecture = values.arch ?? (process.arch === 'arm64' ? 'arm64' : 'amd64');
  if (!(architecture in PLATFORMS)) throw new Error(`expected --arch amd64 or arm64, found ${architecture}`);
  const [outDirectory = join(REPOSITORY, 'deploy/dist')] = positionals;
  const file = await buildDeb({ architecture: architecture as Architecture, outDirectory, isFast: values.fast });
  process.stdout.write(`${file}\n`);
}
