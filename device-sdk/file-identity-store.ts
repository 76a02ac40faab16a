/**
 * The identity in a directory of its own (0700): `key.pem` (0600), `cert.pem` (chain, leaf first), `ca.pem`, its roots'
 * revocation lists in `crl.pem`, `device.json`; any MQTT client can use the first three. A new identity is first written whole into `staged/` and then
 * moved file by file; a move that a crash interrupted is finished at the next load, so key and certificate always match.
 */

import type { Stats } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseDeviceId, parseEnrollUrl, parseMqttUrl } from '@rollcall/protocol';
import { asDeviceError, DeviceError } from './device-error.ts';
import { syncDirectory, writeDurably } from './durable-file.ts';
import type { IdentityStore, PendingRequest, StoredIdentity } from './identity-store.ts';

const KEY = 'key.pem';
const CERTIFICATE = 'cert.pem';
const ROOT = 'ca.pem';
/** Absent while no list came, and in directories of earlier versions. */
const LISTS = 'crl.pem';
const ABOUT = 'device.json';
const PENDING = 'pending.json';

const PRIVATE = 0o600;
const PUBLIC = 0o644;
/** In the order in which they are moved: a certificate alone without its key would be refused everywhere. */
const FILES = [KEY, ROOT, LISTS, ABOUT, CERTIFICATE] as const;

/** Rejects with `identity_unusable`, or `private_key_exposed` when others than the owner can read the key. */
export function fileIdentityStore(dataDir: string): IdentityStore {
  const files = new IdentityFiles(dataDir);
  return {
    keepAside: (former) => named(() => files.keepAside(former)),
    load: () => named(() => files.load()),
    loadPending: () => named(() => files.loadPending()),
    savePending: (pending) => named(() => files.savePending(pending)),
    dropPending: () => named(() => files.dropPending()),
    commit: (identity) => named(() => files.commit(identity)),
  };
}

/** As {@link IdentityStore}, with the errors of the file system. */
class IdentityFiles {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async load(): Promise<StoredIdentity | undefined> {
    await makePrivateDirectory(this.#directory);
    await this.#rollForward();
    if ((await statOf(this.#at(CERTIFICATE))) === undefined) return undefined;
    const [keyPem, certificatePem, rootPem, about, rootCrlPem] = await Promise.all([
      readPrivate(this.#at(KEY)),
      readFile(this.#at(CERTIFICATE), 'utf8'),
      readFile(this.#at(ROOT), 'utf8'),
      readFile(this.#at(ABOUT), 'utf8'),
      readIfThere(this.#at(LISTS)),
    ]);
    return { ...readAbout(about), keyPem, certificatePem, rootPem, ...(rootCrlPem !== '' && { rootCrlPem }) };
  }

  async loadPending(): Promise<PendingRequest | undefined> {
    if ((await statOf(this.#at(PENDING))) === undefined) return undefined;
    return readPending(await readPrivate(this.#at(PENDING)));
  }

  async savePending({ keyPem, csr, commonName }: PendingRequest): Promise<void> {
    const text = JSON.stringify({ commonName, request: csr.toString('base64'), key: keyPem });
    await writeDurably(this.#at(PENDING), `${text}\n`, PRIVATE);
  }

  async dropPending(): Promise<void> {
    await rm(this.#at(PENDING), { force: true });
  }

  async commit(identity: StoredIdentity): Promise<void> {
    const draft = this.#at('staged.tmp');
    await rm(draft, { recursive: true, force: true });
    await mkdir(draft, { mode: 0o700 });
    await this.#writeIdentity(draft, identity);
    await rename(draft, this.#at('staged'));
    await syncDirectory(this.#directory);
    await this.#rollForward();
  }

  /** The copy appears whole by one rename. The identity itself stays until the new one is committed. */
  async keepAside(former: StoredIdentity): Promise<void> {
    await mkdir(this.#at('former'), { recursive: true, mode: 0o700 });
    const draft = await mkdtemp(this.#at('former/unfinished-'));
    await this.#writeIdentity(draft, former);
    const day = new Date().toISOString().replaceAll(':', '-');
    await rename(draft, this.#at(`former/${day}-${draft.slice(-6)}`));
    await syncDirectory(this.#at('former'));
  }

  /** Finishes an interrupted {@link commit}. The staged directory appears by one rename, so it is whole if it exists. */
  async #rollForward(): Promise<void> {
    const staged = (name: string) => join(this.#at('staged'), name);
    if ((await statOf(this.#at('staged'))) === undefined) return;
    for (const name of FILES) {
      if ((await statOf(staged(name))) !== undefined) await rename(staged(name), this.#at(name));
    }
    await syncDirectory(this.#directory);
    await rm(this.#at(PENDING), { force: true });
    await rmdir(this.#at('staged'));
    await syncDirectory(this.#directory);
  }

  async #writeIdentity(directory: string, identity: StoredIdentity): Promise<void> {
    const { deviceId, enrollUrl, mqttUrl, rootCrlPem = '' } = identity;
    const about = JSON.stringify({ deviceId, enrollUrl, mqttUrl }, null, 2);
    await writeDurably(join(directory, KEY), identity.keyPem, PRIVATE);
    await writeDurably(join(directory, ROOT), identity.rootPem, PUBLIC);
    // An empty file replaces the lists of the former roots.
    if (rootCrlPem !== '' || (await statOf(this.#at(LISTS))) !== undefined) {
      await writeDurably(join(directory, LISTS), rootCrlPem, PUBLIC);
    }
    await writeDurably(join(directory, ABOUT), `${about}\n`, PUBLIC);
    await writeDurably(join(directory, CERTIFICATE), identity.certificatePem, PUBLIC);
  }

  #at(name: string): string {
    return join(this.#directory, name);
  }
}

async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const found = await stat(path);
  if (process.platform !== 'win32' && (found.mode & 0o022) !== 0) {
    throw new DeviceError('identity_unusable', {
      reason: `expected a directory that only its owner can write, found mode ${octal(found)}`,
    });
  }
}

async function readPrivate(path: string): Promise<string> {
  const found = await stat(path);
  if (process.platform !== 'win32' && (found.mode & 0o077) !== 0) {
    throw new DeviceError('private_key_exposed', { reason: `expected mode 600, found ${octal(found)} on ${path}` });
  }
  return readFile(path, 'utf8');
}

function readAbout(text: string): Pick<StoredIdentity, 'deviceId' | 'enrollUrl' | 'mqttUrl'> {
  const about = parseObject(text) ?? {};
  const deviceId = parseDeviceId(String(about.deviceId));
  const enrollUrl = parseEnrollUrl(String(about.enrollUrl));
  const mqttUrl = parseMqttUrl(String(about.mqttUrl));
  if (deviceId === undefined || enrollUrl === undefined || mqttUrl === undefined) {
    throw new DeviceError('identity_unusable', { reason: `${ABOUT} does not have the expected shape` });
  }
  return { deviceId, enrollUrl, mqttUrl };
}

/** A damaged one counts as none: nothing is lost but the chance that the server recognizes the request. */
function readPending(text: string): PendingRequest | undefined {
  const { commonName, request, key } = parseObject(text) ?? {};
  if (typeof commonName !== 'string' || typeof request !== 'string' || typeof key !== 'string') return undefined;
  return { commonName, csr: Buffer.from(request, 'base64'), keyPem: key };
}

/** Says nothing about what is wrong: JSON.parse's own words can quote the file, which may hold a key. */
function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined;
  } catch {
    return undefined;
  }
}

async function readIfThere(path: string): Promise<string> {
  return (await statOf(path)) === undefined ? '' : readFile(path, 'utf8');
}

async function statOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function octal(found: Stats): string {
  return (found.mode & 0o777).toString(8);
}

async function named<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw asDeviceError(error, 'identity_unusable');
  }
}
