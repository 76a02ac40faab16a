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
import type { Credentials, IdentityStore, PendingRequest, StoredIdentity } from './identity-store.ts';

const KEY = 'key.pem';
const CERTIFICATE = 'cert.pem';
const ROOT = 'ca.pem';
/** Absent while no list came, and in directories of earlier versions. */
const LISTS = 'crl.pem';
const PENDING = 'pending.json';

const PRIVATE = 0o600;
const PUBLIC = 0o644;
type Members = Readonly<Record<string, unknown>>;

/** The JSON file with the name of the holder and its addresses. */
export interface AboutFile<Identity extends Credentials> {
  /** Name of the file. */
  readonly file: string;
  /** The members to write. */
  membersOf(identity: Identity): Members;
  /** Undefined when the members do not have the expected shape. `addresses` are read already. */
  parse(
    members: Members,
    addresses: Addresses,
  ): Omit<Identity, Exclude<keyof Credentials, keyof Addresses>> | undefined;
}

type Addresses = Pick<Credentials, 'enrollUrl' | 'mqttUrl'>;

const DEVICE_FILE: AboutFile<StoredIdentity> = {
  file: 'device.json',
  membersOf: ({ deviceId, enrollUrl, mqttUrl }) => ({ deviceId, enrollUrl, mqttUrl }),
  parse: (members, addresses) => {
    const deviceId = parseDeviceId(String(members.deviceId));
    return deviceId === undefined ? undefined : { deviceId, ...addresses };
  },
};

/** Rejects with `identity_unusable`, or `private_key_exposed` when others than the owner can read the key. */
export function fileIdentityStore(dataDir: string): IdentityStore {
  return fileCredentialStore(dataDir, DEVICE_FILE);
}

/** As {@link fileIdentityStore}, with another JSON file. */
export function fileCredentialStore<Identity extends Credentials>(
  directory: string,
  about: AboutFile<Identity>,
): IdentityStore<Identity> {
  const files = new IdentityFiles(directory, about);
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
class IdentityFiles<Identity extends Credentials> {
  readonly #directory: string;
  readonly #about: AboutFile<Identity>;
  /** In the order in which they are moved: a certificate alone without its key would be refused everywhere. */
  readonly #files: readonly string[];

  constructor(directory: string, about: AboutFile<Identity>) {
    this.#directory = directory;
    this.#about = about;
    this.#files = [KEY, ROOT, LISTS, about.file, CERTIFICATE];
  }

  async load(): Promise<Identity | undefined> {
    await makePrivateDirectory(this.#directory);
    await this.#rollForward();
    if ((await statOf(this.#at(CERTIFICATE))) === undefined) return undefined;
    const [keyPem, certificatePem, rootPem, about, rootCrlPem] = await Promise.all([
      readPrivate(this.#at(KEY)),
      readFile(this.#at(CERTIFICATE), 'utf8'),
      readFile(this.#at(ROOT), 'utf8'),
      readFile(this.#at(this.#about.file), 'utf8'),
      readIfThere(this.#at(LISTS)),
    ]);
    const credentials = { keyPem, certificatePem, rootPem, ...(rootCrlPem !== '' && { rootCrlPem }) };
    return { ...this.#readAbout(about), ...credentials } as Identity;
  }

  #readAbout(text: string): object {
    const members = parseObject(text) ?? {};
    const enrollUrl = parseEnrollUrl(String(members.enrollUrl));
    const mqttUrl = parseMqttUrl(String(members.mqttUrl));
    const about =
      enrollUrl === undefined || mqttUrl === undefined ? undefined : this.#about.parse(members, { enrollUrl, mqttUrl });
    if (about !== undefined) return about;
    throw new DeviceError('identity_unusable', { reason: `${this.#about.file} does not have the expected shape` });
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

  async commit(identity: Identity): Promise<void> {
    const draft = this.#at('staged.tmp');
    await rm(draft, { recursive: true, force: true });
    await mkdir(draft, { mode: 0o700 });
    await this.#writeIdentity(draft, identity);
    await rename(draft, this.#at('staged'));
    await syncDirectory(this.#directory);
    await this.#rollForward();
  }

  /** The copy appears whole by one rename. The identity itself stays until the new one is committed. */
  async keepAside(former: Identity): Promise<void> {
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
    for (const name of this.#files) {
      if ((await statOf(staged(name))) !== undefined) await rename(staged(name), this.#at(name));
    }
    await syncDirectory(this.#directory);
    await rm(this.#at(PENDING), { force: true });
    await rmdir(this.#at('staged'));
    await syncDirectory(this.#directory);
  }

  async #writeIdentity(directory: string, identity: Identity): Promise<void> {
    const { rootCrlPem = '' } = identity;
    const about = JSON.stringify(this.#about.membersOf(identity), null, 2);
    await writeDurably(join(directory, KEY), identity.keyPem, PRIVATE);
    await writeDurably(join(directory, ROOT), identity.rootPem, PUBLIC);
    // An empty file replaces the lists of the former roots.
    if (rootCrlPem !== '' || (await statOf(this.#at(LISTS))) !== undefined) {
      await writeDurably(join(directory, LISTS), rootCrlPem, PUBLIC);
    }
    await writeDurably(join(directory, this.#about.file), `${about}\n`, PUBLIC);
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

/** A damaged one counts as none: nothing is lost but the chance that the server recognizes the request. */
function readPending(text: string): PendingRequest | undefined {
  const { commonName, request, key } = parseObject(text) ?? {};
  if (typeof commonName !== 'string' || typeof request !== 'string' || typeof key !== 'string') return undefined;
  return { commonName, csr: Buffer.from(request, 'base64'), keyPem: key };
}

/** Says nothing about what is wrong: JSON.parse's own words can quote the file, which may hold a key. */
function parseObject(text: string): Members | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Members) : undefined;
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
