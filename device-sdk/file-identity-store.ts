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
  const at = (name: string) => join(dataDir, name);
  const staged = (name: string) => join(dataDir, 'staged', name);

  /** Finishes what {@link commit} began. The staged directory appears by one rename, so it is whole if it is there. */
  async function rollForward(): Promise<void> {
    if ((await statOf(at('staged'))) === undefined) return;
    for (const name of FILES) {
      if ((await statOf(staged(name))) !== undefined) await rename(staged(name), at(name));
    }
    await syncDirectory(dataDir);
    await rm(at(PENDING), { force: true });
    await rmdir(at('staged'));
    await syncDirectory(dataDir);
  }

  /** Appears whole by one rename; the identity itself stays until the new one is committed. */
  async function keepAside(former: StoredIdentity): Promise<void> {
    await mkdir(at('former'), { recursive: true, mode: 0o700 });
    const draft = await mkdtemp(at('former/unfinished-'));
    await writeIdentity(draft, former);
    const day = new Date().toISOString().replaceAll(':', '-');
    await rename(draft, at(`former/${day}-${draft.slice(-6)}`));
    await syncDirectory(at('former'));
  }

  async function writeIdentity(directory: string, identity: StoredIdentity): Promise<void> {
    const { deviceId, enrollUrl, mqttUrl, rootCrlPem = '' } = identity;
    const about = JSON.stringify({ deviceId, enrollUrl, mqttUrl }, null, 2);
    await writeDurably(join(directory, KEY), identity.keyPem, PRIVATE);
    await writeDurably(join(directory, ROOT), identity.rootPem, PUBLIC);
    // An empty one takes the place of lists that belong to the roots of before.
    if (rootCrlPem !== '' || (await statOf(at(LISTS))) !== undefined) {
      await writeDurably(join(directory, LISTS), rootCrlPem, PUBLIC);
    }
    await writeDurably(join(directory, ABOUT), `${about}\n`, PUBLIC);
    await writeDurably(join(directory, CERTIFICATE), identity.certificatePem, PUBLIC);
  }

  return {
    keepAside: (former) => named(() => keepAside(former)),

    load: () =>
      named(async () => {
        await makePrivateDirectory(dataDir);
        await rollForward();
        if ((await statOf(at(CERTIFICATE))) === undefined) return undefined;
        const [keyPem, certificatePem, rootPem, about, rootCrlPem] = await Promise.all([
          readPrivate(at(KEY)),
          readFile(at(CERTIFICATE), 'utf8'),
          readFile(at(ROOT), 'utf8'),
          readFile(at(ABOUT), 'utf8'),
          readIfThere(at(LISTS)),
        ]);
        return { ...readAbout(about), keyPem, certificatePem, rootPem, ...(rootCrlPem !== '' && { rootCrlPem }) };
      }),

    loadPending: () =>
      named(async () => {
        if ((await statOf(at(PENDING))) === undefined) return undefined;
        return readPending(await readPrivate(at(PENDING)));
      }),

    savePending: ({ keyPem, csr, commonName }) =>
      named(() => {
        const text = JSON.stringify({ commonName, request: csr.toString('base64'), key: keyPem });
        return writeDurably(at(PENDING), `${text}\n`, PRIVATE);
      }),

    dropPending: () => named(() => rm(at(PENDING), { force: true })),

    commit: (identity) =>
      named(async () => {
        const draft = at('staged.tmp');
        await rm(draft, { recursive: true, force: true });
        await mkdir(draft, { mode: 0o700 });
        await writeIdentity(draft, identity);
        await rename(draft, at('staged'));
        await syncDirectory(dataDir);
        await rollForward();
      }),
  };
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
