/**
 * Writes images for gateways: one directory that many devices share, or one kit for each device. Each directory is complete: it
 * holds the agent, its systemd unit, its settings, the fleet's root certificate and a bootstrap token. Calls no server.
 */

import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildDeviceAgent } from '@rollcall/device-sdk/build';
import { Problem, parseBootstrapToken } from '@rollcall/protocol';
import { syncDirectory } from '../../storage/index.ts';
import { type ImageManifest, MANIFEST, MODES, sha256Of, TOKEN } from './image-files.ts';

const STATIC_FILES = fileURLToPath(new URL('files/', import.meta.url));
const TEMPLATES = ['install.sh', 'firstrun.sh', 'user-data', 'rollcall-device.service'] as const;

/** Below systemd's directory of credentials, as the unit loads it. */
const TOKEN_FILE = '/run/credentials/rollcall-device.service/token';

export interface ImageOptions {
  /** Must not exist, or be empty. */
  readonly out: string;
  readonly group: string;
  readonly version: string;
  /** PEM. */
  readonly rootPem: string;
  /** Port of 127.0.0.1 for plain MQTT of local applications. */
  readonly listenPort: number | undefined;
  /** Path of a Node executable to include. */
  readonly node: string | undefined;
  readonly madeAt: number;
}

export interface ImageToken {
  /** The secret text. */
  readonly text: string;
  readonly id: string;
  readonly maxUses: number;
  readonly expiresAt: string;
  /** The only device that may use it. */
  readonly device: string | undefined;
}

/** Writes one image into `out`. Leaves nothing behind when it fails. Throws Problem `usage`. */
export async function makeImage(options: ImageOptions, token: ImageToken): Promise<ImageManifest> {
  return makeThenRename(options, async (directory) => {
    await writeParts(options, directory);
    return writeKit(options, directory, directory, token);
  });
}

/** Writes a kit for each token below `kits/`, and `kits.csv`. Identical files are hard links. Throws Problem `usage`. */
export async function makeKits(
  options: ImageOptions,
  tokens: readonly ImageToken[],
): Promise<readonly ImageManifest[]> {
  return makeThenRename(options, async (directory) => {
    const parts = join(directory, 'parts');
    mkdirSync(parts);
    await writeParts(options, parts);
    const manifests = tokens.map((token) => {
      const kit = join(directory, 'kits', token.device as string);
      mkdirSync(kit, { recursive: true, mode: 0o700 });
      return writeKit(options, parts, kit, token);
    });
    rmSync(parts, { recursive: true });
    const rows = tokens.map(({ device, id, expiresAt }) => `${device},${id},${expiresAt},kits/${device}`);
    write(join(directory, 'kits.csv'), `device,token_id,expires_at,directory\n${rows.join('\n')}\n`, 0o644);
    return manifests;
  });
}

/** Writes under another name and renames, so that `out` is complete or absent. */
async function makeThenRename<T>({ out }: ImageOptions, make: (directory: string) => Promise<T>): Promise<T> {
  const target = resolve(out);
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new Problem('usage', { reason: `--out: expected an empty directory or none, found files in ${target}` });
  }
  let draft: string | undefined;
  try {
    mkdirSync(dirname(target), { recursive: true });
    draft = mkdtempSync(`${target}.draft-`);
    const made = await make(draft);
    rmSync(target, { recursive: true, force: true });
    renameSync(draft, target);
    syncDirectory(dirname(target));
    return made;
  } catch (error) {
    if (draft !== undefined) rmSync(draft, { recursive: true, force: true });
    if (error instanceof Problem) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Problem('usage', { reason: `${target} could not be written: ${code ?? message}`, cause: error });
  }
}

/** The parts that are the same for every device. */
async function writeParts({ rootPem, node }: ImageOptions, directory: string): Promise<void> {
  await buildDeviceAgent(join(directory, 'rollcall-device.cjs'));
  for (const name of TEMPLATES) {
    copyFileSync(join(STATIC_FILES, name), join(directory, name));
    chmodSync(join(directory, name), MODES[name] ?? 0o644);
  }
  write(join(directory, 'root.pem'), rootPem, 0o644);
  if (node === undefined) return;
  copyFileSync(node, join(directory, 'node'));
  chmodSync(join(directory, 'node'), 0o755);
}

function writeKit(options: ImageOptions, parts: string, directory: string, token: ImageToken): ImageManifest {
  const parsed = parseBootstrapToken(token.text);
  if (parsed === undefined) throw new Problem('internal', { reason: 'expected a bootstrap token from the server' });
  const names = readdirSync(parts);
  if (parts !== directory) for (const name of names) link(join(parts, name), join(directory, name));
  write(join(directory, 'device.conf'), settingsText(options, token), 0o644);
  write(join(directory, TOKEN), `${token.text}\n`, 0o600);
  const files = [...names, 'device.conf'].sort();
  const manifest: ImageManifest = {
    format: 'rollcall-image/1',
    madeAt: new Date(options.madeAt).toISOString(),
    version: options.version,
    group: options.group,
    ...(token.device !== undefined && { device: token.device }),
    enrollUrl: parsed.enrollUrl,
    rootSha256: parsed.rootSha256,
    token: { id: token.id, maxUses: token.maxUses, expiresAt: token.expiresAt },
    files: Object.fromEntries(files.map((name) => [name, sha256Of(readFileSync(join(directory, name)))])),
  };
  write(join(directory, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`, 0o644);
  syncDirectory(directory);
  return manifest;
}

function settingsText({ listenPort }: ImageOptions, { device }: ImageToken): string {
  const lines = [
    '# Settings of the Rollcall agent: name = value. "rollcall-device doctor" says what is wrong with them.',
    `token-file = ${TOKEN_FILE}`,
    ...(device === undefined ? [] : [`id = ${device}`]),
    ...(listenPort === undefined ? [] : [`listen = 127.0.0.1:${listenPort}`]),
  ];
  return `${lines.join('\n')}\n`;
}

function link(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to); // the file system has no hard links
  }
}

function write(path: string, text: string, mode: number): void {
  writeFileSync(path, text, { mode, flag: 'wx', flush: true });
  chmodSync(path, mode);
}
