/**
 * Which version of MQTT to speak with which broker: 5, unless the broker refused it. A broker that does not know version 5 answers
 * with CONNACK 1 or 0x84, or closes the connection without one.
 */

import type { MqttVersion } from './mqtt-codec/index.ts';

/** `automatic`: 5 where the broker knows it, else 3.1.1. */
export type MqttVersionChoice = 'automatic' | '5' | '3.1.1';

export const MQTT_VERSIONS: readonly MqttVersionChoice[] = ['automatic', '5', '3.1.1'];

/** How long a broker's refusal of version 5 is remembered: it may be updated. Milliseconds. */
const REFUSED_MS = 24 * 3_600_000;
/** The same for a broker that only closed the connection, perhaps for another reason. */
const CLOSED_MS = 3_600_000;

export class ProtocolVersions {
  readonly #choice: MqttVersionChoice;
  readonly #uptime: () => number;
  /** By URL: until when version 3.1.1 is spoken. */
  readonly #older = new Map<string, number>();
  /** The broker at this URL closed the last connection before CONNACK. */
  readonly #closed = new Set<string>();

  /** `uptime`: milliseconds of a clock that is never set. */
  constructor(choice: MqttVersionChoice, uptime: () => number) {
    this.#choice = choice;
    this.#uptime = uptime;
  }

  /** Whether another version may be tried with a broker that refused this one. */
  get isAutomatic(): boolean {
    return this.#choice === 'automatic';
  }

  versionFor(url: string): MqttVersion {
    if (this.#choice !== 'automatic') return this.#choice === '5' ? 5 : 4;
    const until = this.#older.get(url);
    if (until !== undefined && this.#uptime() < until) return 4;
    return this.#closed.has(url) ? 4 : 5;
  }

  /** The broker said that it does not know this version. */
  refused(url: string): void {
    this.#older.set(url, this.#uptime() + REFUSED_MS);
  }

  /** The connection ended after CONNECT and without CONNACK: the other version is tried next. */
  closedBeforeConnack(url: string, version: MqttVersion): void {
    if (version === 5) this.#closed.add(url);
    else this.#closed.delete(url);
  }

  accepted(url: string, version: MqttVersion): void {
    if (version === 4 && this.#closed.has(url)) this.#older.set(url, this.#uptime() + CLOSED_MS);
    this.#closed.delete(url);
  }
}
