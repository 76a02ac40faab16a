import { Device, type IdentityStore, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { asDeviceError } from '@rollcall/device-sdk/building-blocks';
import { seededRandom } from '../seeded-random.ts';
import { waitUntil } from '../wait-until.ts';
import { parseCertificates } from './trusted-roots.ts';

export interface DrillDeviceOptions {
  readonly id: string;
  readonly token: string;
  /** Milliseconds by which its clock is ahead. */
  readonly skew: number;
  /** `its first root`: it forgets every other root when it restarts, like a client whose CA file is never updated. */
  readonly trusts: 'what it hears' | 'its first root';
  readonly haste: number;
  readonly signal: AbortSignal;
}

const ARRIVES_WITHIN_MS = 30_000;

export class DrillDevice {
  readonly #options: DrillDeviceOptions;
  readonly #store: IdentityStore;
  #token: string;
  #device: Device | undefined;
  #said = '';

  constructor(options: DrillDeviceOptions) {
    this.#options = options;
    this.#token = options.token;
    this.#store = options.trusts === 'its first root' ? pinningStore() : memoryIdentityStore();
  }

  get id(): string {
    return this.#options.id;
  }

  get isConnected(): boolean {
    return this.#device?.state === 'connected' || this.#device?.state === 'renewing';
  }

  /** Code of its last error; empty without one. */
  get lastError(): string {
    return this.#device?.lastError?.code ?? this.#said;
  }

  get identity(): Promise<StoredIdentity | undefined> {
    return this.#store.load();
  }

  /** Enrolls when it is new. True when it is connected in the end. */
  async connect(): Promise<boolean> {
    const { id, skew, haste, signal } = this.#options;
    const random = seededRandom(id.length * 7_919 + skew);
    try {
      this.#device = await Device.open({
        store: this.#store,
        token: this.#token,
        deviceId: id,
        clean: true,
        queue: 'memory',
        // A window that it missed is followed by one of ten minutes; a drill waits for the first part of it.
        random: () => random() * Math.min(haste, 0.05),
        now: () => Date.now() + skew,
        signal,
      });
    } catch (error) {
      this.#said = asDeviceError(error, 'internal').code;
      return false;
    }
    const device = this.#device;
    await waitUntil(() => device.state === 'connected' || device.state === 'revoked', {
      within: ARRIVES_WITHIN_MS,
      signal,
    });
    return device.state === 'connected';
  }

  async close(): Promise<void> {
    await this.#device?.close();
    this.#device = undefined;
  }

  /** Comes back with a new token, as one that was given up. */
  async enrollAgain(token: string): Promise<boolean> {
    const device = this.#device;
    this.#token = token;
    if (device === undefined) return this.connect();
    try {
      await device.enroll(token);
    } catch (error) {
      this.#said = asDeviceError(error, 'internal').code;
      return false;
    }
    return waitUntil(() => device.state === 'connected', { within: ARRIVES_WITHIN_MS, signal: this.#options.signal });
  }

  /** Fingerprints of the roots that it trusts when it starts again. */
  async roots(): Promise<readonly string[]> {
    const identity = await this.#store.load();
    return parseCertificates(identity?.rootPem ?? '').map(({ fingerprint256 }) => fingerprint256);
  }

  /** Fingerprint of the CA that signed its certificate. */
  async issuer(): Promise<string | undefined> {
    const identity = await this.#store.load();
    return identity && issuerIn(identity.certificatePem);
  }
}

function pinningStore(): IdentityStore {
  const store = memoryIdentityStore();
  return {
    ...store,
    commit: async (next) => store.commit({ ...next, rootPem: (await store.load())?.rootPem ?? next.rootPem }),
  };
}

/** The second of a chain, leaf first. */
function issuerIn(chainPem: string): string | undefined {
  return parseCertificates(chainPem)[1]?.fingerprint256;
}
