/**
 * Records in the registry which devices are connected. Gathers what the broker reports, the newest begin and end of a session per
 * device, and writes it in batches: no CONNECT waits for it. Memory is bounded by the number of devices. What was not written when
 * the process is killed is lost; the next start records such devices as offline.
 */

import type { DeviceId } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { BrokerEvent } from '../broker/index.ts';
import type { PresenceChange, PresenceStore, SERVER_LOST } from '../registry/index.ts';

/** Reasons of a last disconnect. */
export type LastDisconnectReason =
  | Extract<BrokerEvent, { readonly type: 'disconnected' }>['reason']
  | typeof SERVER_LOST;

export interface PresenceRecorderOptions {
  readonly registry: PresenceStore;
  /** The name of this broker, the same after a restart. */
  readonly broker: string;
  readonly log: Logger;
}

/** Milliseconds that changes gather. */
const WINDOW_MS = 1_000;
/** Devices per transaction: some milliseconds of the event loop. */
const BATCH = 250;

export class PresenceRecorder {
  readonly #options: PresenceRecorderOptions;
  #gathered = new Map<DeviceId, PresenceChange>();
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #isFailing = false;
  #isClosed = false;

  constructor(options: PresenceRecorderOptions) {
    this.#options = options;
  }

  /** Before the broker listens. */
  async start(): Promise<void> {
    const { registry, broker, log } = this.#options;
    const devices = await registry.resetPresence(broker);
    if (devices > 0) log.warn({ devices }, 'devices were online when the server was lost');
  }

  record(event: BrokerEvent): void {
    if (event.type !== 'connected' && event.type !== 'disconnected') return;
    if (event.identity.kind !== 'device') return;
    const device = event.identity.id;
    const { sequence, at } = event;
    const earlier = this.#gathered.get(device);
    if (event.type === 'connected') {
      const { address, mqttVersion, sdkVersion } = event;
      this.#gathered.set(device, { ...earlier, device, begin: { sequence, at, address, mqttVersion, sdkVersion } });
    } else {
      const { reason, lastReceivedAt: lastSeenAt } = event;
      this.#gathered.set(device, { ...earlier, device, end: { sequence, at, lastSeenAt, reason } });
    }
    this.#schedule();
  }

  /** Resolves when everything that was reported so far is in the registry, or cannot be written now and will be tried again. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  close(): Promise<void> {
    this.#isClosed = true;
    return this.flush();
  }

  async #write(): Promise<void> {
    const { registry, broker, log } = this.#options;
    const changes = [...this.#gathered.values()];
    this.#gathered = new Map();
    for (let start = 0; start < changes.length; start += BATCH) {
      if (start > 0) await new Promise((resolve) => setImmediate(resolve));
      try {
        await registry.recordPresence(broker, changes.slice(start, start + BATCH));
        this.#isFailing = false;
      } catch (error) {
        if (!this.#isFailing) log.error({ err: error }, 'presence could not be written, and is tried again');
        this.#isFailing = true;
        this.#putBack(changes.slice(start));
        return;
      }
    }
  }

  /** Under what was reported meanwhile, which is newer. */
  #putBack(changes: readonly PresenceChange[]): void {
    for (const change of changes)
      this.#gathered.set(change.device, { ...change, ...this.#gathered.get(change.device) });
    this.#schedule();
  }

  #schedule(): void {
    if (!this.#isClosed) this.#timer ??= setTimeout(() => void this.flush(), WINDOW_MS).unref();
  }
}
