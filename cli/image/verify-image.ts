/** Verifies an image: files match the manifest, none is added, none holds a private key, the token is valid and of this fleet. */

import { X509Certificate } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSettings, SettingsError } from '@rollcall/device-sdk/building-blocks';
import { isLoopbackHost, parseBootstrapToken, parseEnrollUrl, urlHost } from '@rollcall/protocol';
import { type ImageManifest, MANIFEST, MODES, readManifest, sha256Of, TOKEN } from './image-files.ts';

export interface VerifiedImage {
  readonly directory: string;
  readonly manifest: ImageManifest;
  /** Empty when the image is valid. */
  readonly faults: readonly string[];
}

export interface VerifyOptions {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** A server that only its own machine can call is no fault. */
  readonly allowLoopback: boolean;
}

/** The image in a directory, or each of its kits. Throws Problem `usage` when there is none. */
export function verifyImages(directory: string, options: VerifyOptions): readonly VerifiedImage[] {
  const kits = join(directory, 'kits');
  const isKits = lstatSync(kits, { throwIfNoEntry: false })?.isDirectory() === true;
  const directories = isKits
    ? readdirSync(kits)
        .sort()
        .map((name) => join(kits, name))
    : [directory];
  return directories.map((each) => verifyImage(each, options));
}

function verifyImage(directory: string, { now, allowLoopback }: VerifyOptions): VerifiedImage {
  const manifest = readManifest(directory);
  const faults = [
    ...filesOf(directory, manifest),
    ...tokenOf(directory, manifest, now),
    ...rootOf(directory, manifest),
    ...settingsOf(directory, manifest),
    ...(allowLoopback ? [] : namesOf(manifest)),
  ];
  return { directory, manifest, faults };
}

function* filesOf(directory: string, { files }: ImageManifest): Generator<string> {
  const expected = new Set([...Object.keys(files), TOKEN, MANIFEST]);
  for (const name of readdirSync(directory)) {
    if (!expected.has(name)) yield `${name}: it is not in the manifest`;
  }
  for (const name of expected) {
    const found = lstatSync(join(directory, name), { throwIfNoEntry: false });
    if (found === undefined || !found.isFile()) {
      yield `${name}: expected a file, found ${found === undefined ? 'none' : 'something else'}`;
      continue;
    }
    const bytes = readFileSync(join(directory, name));
    if (files[name] !== undefined && files[name] !== sha256Of(bytes)) yield `${name}: it does not match the manifest`;
    if (bytes.includes('PRIVATE KEY-----') && !isProgram(name)) yield `${name}: expected no private key in an image`;
    const mode = MODES[name] ?? 0o644;
    if ((found.mode & 0o777 & ~mode) !== 0) {
      yield `${name}: expected mode ${mode.toString(8)}, found ${(found.mode & 0o777).toString(8)}`;
    }
  }
}

/** Programs that read keys contain the PEM label. */
function isProgram(name: string): boolean {
  return name === 'rollcall-device.cjs' || name === 'node';
}

function* tokenOf(directory: string, { token, enrollUrl, rootSha256 }: ImageManifest, now: number): Generator<string> {
  const text = read(directory, TOKEN);
  if (text === undefined) return; // filesOf reports it
  const parsed = parseBootstrapToken(text.trim());
  if (parsed === undefined) yield `${TOKEN}: expected a bootstrap token`;
  else if (parsed.id !== token.id) yield `${TOKEN}: expected token ${token.id}, found ${parsed.id}`;
  else if (parsed.enrollUrl !== parseEnrollUrl(enrollUrl) || parsed.rootSha256 !== rootSha256)
    yield `${TOKEN}: it belongs to another fleet`;
  if (Date.parse(token.expiresAt) <= now) yield `${TOKEN}: it expired at ${token.expiresAt}; make the image again`;
}

function* rootOf(directory: string, { rootSha256 }: ImageManifest): Generator<string> {
  const pem = read(directory, 'root.pem');
  if (pem === undefined) return;
  const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const isPinned = certificates.some((text) => {
    try {
      return sha256Of(new X509Certificate(text).raw) === rootSha256;
    } catch {
      return false;
    }
  });
  if (!isPinned) yield 'root.pem: expected the root that the token names';
}

function* settingsOf(directory: string, { device }: ImageManifest): Generator<string> {
  const text = read(directory, 'device.conf');
  if (text === undefined) return;
  try {
    const { id } = parseSettings(text, 'device.conf');
    if (id !== device) yield `device.conf: expected ${device ?? 'no'} id, found ${id ?? 'none'}`;
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    yield error.message;
  }
}

function* namesOf({ enrollUrl }: ImageManifest): Generator<string> {
  const url = parseEnrollUrl(enrollUrl);
  if (url === undefined || !isLoopbackHost(urlHost(url))) return; // tokenOf reports one that is no URL
  yield `${TOKEN}: it names ${url}, which is the gateway itself; start the server with --public-host NAME, and make the image again`;
}

function read(directory: string, name: string): string | undefined {
  try {
    return readFileSync(join(directory, name), 'utf8');
  } catch {
    return undefined;
  }
}
