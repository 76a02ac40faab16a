/** Which messages a sink forwards. An empty list asks for nothing; several lists must all agree. */

import type { SinkMessage } from './target.ts';

export interface SinkFilter {
  /** Devices or services by name. */
  readonly devices: readonly string[];
  /** Groups of devices, as they are when the message is forwarded. */
  readonly groups: readonly string[];
  /** Streams; of events their types, or areas: `presence.connected`, `presence`. */
  readonly streams: readonly string[];
}

export const NO_FILTER: SinkFilter = { devices: [], groups: [], streams: [] };

/** Undefined for a device that is not known. */
export type GroupOf = (device: string) => Promise<string | undefined>;

const GROUP_REMEMBERED_MS = 30_000;
const GROUPS_REMEMBERED = 20_000;

export class SinkMessageFilter {
  readonly #devices: ReadonlySet<string>;
  readonly #groups: ReadonlySet<string>;
  readonly #streams: ReadonlySet<string>;
  readonly #groupOf: GroupOf;
  readonly #now: () => number;
  #known = new Map<string, string | undefined>();
  #knownSince = 0;

  constructor(filter: SinkFilter, groupOf: GroupOf, now: () => number) {
    this.#devices = new Set(filter.devices);
    this.#groups = new Set(filter.groups);
    this.#streams = new Set(filter.streams);
    this.#groupOf = groupOf;
    this.#now = now;
  }

  async select(messages: readonly SinkMessage[]): Promise<readonly SinkMessage[]> {
    const named = messages.filter(
      ({ device, stream }) => (this.#devices.size === 0 || this.#devices.has(device)) && this.#isStream(stream),
    );
    if (this.#groups.size === 0) return named;
    const wanted: SinkMessage[] = [];
    for (const message of named) {
      const group = await this.#group(message.device);
      if (group !== undefined && this.#groups.has(group)) wanted.push(message);
    }
    return wanted;
  }

  #isStream(stream: string): boolean {
    if (this.#streams.size === 0 || this.#streams.has(stream)) return true;
    const dot = stream.indexOf('.');
    return dot > 0 && this.#streams.has(stream.slice(0, dot));
  }

  async #group(device: string): Promise<string | undefined> {
    const age = Math.abs(this.#now() - this.#knownSince);
    if (age > GROUP_REMEMBERED_MS || this.#known.size >= GROUPS_REMEMBERED) {
      this.#known = new Map();
      this.#knownSince = this.#now();
    }
    if (!this.#known.has(device)) this.#known.set(device, await this.#groupOf(device));
    return this.#known.get(device);
  }
}
