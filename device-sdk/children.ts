/**
 * The children of a gateway: devices that can't do TLS themselves, each with an identity, a connection and a queue of its
 * own, kept in the gateway's directory. What a child may do is its own policy's business, not the gateway's.
 */

import { join } from 'node:path';
import { type DeviceId, NAME_RULE, parseDeviceId } from '@rollcall/protocol';
import { DeviceError } from './device-error.ts';
import type { DeviceOptions, DeviceSettings } from './device-options.ts';
import { memoryIdentityStore } from './identity-store.ts';

/** As for `Device.open`, without what the gateway says for all of its children. */
export type ChildOptions = Omit<
  DeviceSettings,
  'deviceId' | 'clock' | 'now' | 'random' | 'schedule' | 'signal' | 'mqttUrl' | 'enrollUrl' | 'rootSha256'
>;

/** What the gateway itself was opened with. */
export interface GatewaySettings extends DeviceSettings {
  readonly dataDir?: string | undefined;
}

interface Child {
  close(): Promise<void>;
}

export class Children<Kind extends Child> {
  readonly #gateway: GatewaySettings;
  readonly #open: (options: DeviceOptions) => Promise<Kind>;
  readonly #children = new Map<DeviceId, Promise<Kind>>();
  #isClosed = false;

  constructor(gateway: GatewaySettings, open: (options: DeviceOptions) => Promise<Kind>) {
    this.#gateway = gateway;
    this.#open = open;
  }

  /** Names of those that are attached, or being attached. */
  get ids(): readonly DeviceId[] {
    return [...this.#children.keys()];
  }

  /** The same child while it is attached; otherwise it is opened, and enrolled if it has no identity yet. */
  async attach(id: string, options: ChildOptions): Promise<Kind> {
    const childId = parseDeviceId(id);
    if (childId === undefined) throw new DeviceError('device_id_invalid', { reason: `expected ${NAME_RULE}` });
    if (this.#isClosed) throw new DeviceError('closed');
    const attached = this.#children.get(childId);
    if (attached !== undefined) return attached;
    const child = this.#open(this.#optionsOf(childId, options)).catch((error) => {
      this.#children.delete(childId);
      throw error;
    });
    this.#children.set(childId, child);
    return child;
  }

  /** The child was closed: the next {@link attach} opens it again. */
  detached(id: DeviceId): void {
    this.#children.delete(id);
  }

  /** Closes all of them. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled([...this.#children.values()].map(async (child) => (await child).close()));
  }

  #optionsOf(deviceId: DeviceId, options: ChildOptions): DeviceOptions {
    const { dataDir, mqttUrl, enrollUrl, rootSha256, now, random, schedule, log, keepalive, messageKeys, mqttVersion } =
      this.#gateway;
    const inherited = {
      mqttUrl,
      enrollUrl,
      rootSha256,
      now,
      random,
      schedule,
      log,
      keepalive,
      messageKeys,
      mqttVersion,
    };
    const place =
      dataDir === undefined ? { store: memoryIdentityStore() } : { dataDir: join(dataDir, 'children', deviceId) };
    const settings = { ...inherited, ...options, ...place, deviceId };
    return Object.fromEntries(
      Object.entries(settings).filter(([, value]) => value !== undefined),
    ) as unknown as DeviceOptions;
  }
}
