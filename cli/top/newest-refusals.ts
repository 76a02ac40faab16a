/** The newest connections, enrollments, renewals and topics that the server refused: listed once, then followed. */

import type { ConsoleClient } from '../../console/client.ts';

/** Shown by no more lines than this. */
const LIMIT = 100;
const LISTED_MS = 3_600_000;
/** Events of which the server sends one stream each. */
const TYPES = ['presence.connect_failed', 'enroll.refused', 'cert.renewal_refused', 'security.acl_denied'] as const;

export interface NewestRefusal {
  readonly id: string;
  /** ISO 8601. */
  readonly time: string;
  /** The device or service, or what an unknown client called itself; empty when it gave no name. */
  readonly name: string;
  readonly cause: string;
  readonly address: string;
  readonly detail: string;
}

type FleetEvent = Awaited<ReturnType<ConsoleClient['listEvents']>>[number];

export class NewestRefusals {
  readonly #server: ConsoleClient;
  readonly #byId = new Map<string, NewestRefusal>();

  constructor(server: ConsoleClient) {
    this.#server = server;
  }

  /** Newest first. */
  list(): readonly NewestRefusal[] {
    return [...this.#byId.values()];
  }

  /** Reads those of the last hour. Throws Problem. */
  async read(): Promise<void> {
    const since = new Date(Date.now() - LISTED_MS).toISOString();
    const found = await Promise.all(TYPES.map((type) => this.#server.listEvents({ type, since, limit: LIMIT })));
    this.#add(found.flat());
  }

  /** Reads and follows them until the signal, or until a stream ends. Throws Problem. */
  async follow(signal: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const either = AbortSignal.any([signal, ended.signal]);
    try {
      const streams = TYPES.map((type) => this.#followType(type, either));
      // The streams are asked for first, so that none is missing between the list and the stream.
      await Promise.race(streams.concat(this.read().then(() => Promise.all(streams).then(() => {}))));
    } finally {
      ended.abort();
    }
  }

  async #followType(type: (typeof TYPES)[number], signal: AbortSignal): Promise<void> {
    for await (const event of this.#server.followEvents({ type }, signal)) this.#add([event]);
  }

  #add(events: readonly FleetEvent[]): void {
    for (const event of events) this.#byId.set(event.id, refusalOf(event));
    const newest = [...this.#byId.values()].sort((a, b) => Date.parse(b.time) - Date.parse(a.time)).slice(0, LIMIT);
    this.#byId.clear();
    for (const refusal of newest) this.#byId.set(refusal.id, refusal);
  }
}

/** The fields of each type: docs/events.md. */
function refusalOf({ id, time, type, subject, data }: FleetEvent): NewestRefusal {
  const text = (...names: readonly string[]) => {
    const found = names.map((name) => data[name]).find((value) => typeof value === 'string');
    return typeof found === 'string' ? found : '';
  };
  const isDenial = type.endsWith('acl_denied');
  return {
    id,
    time,
    name: subject?.slice(subject.indexOf('/') + 1) ?? text('clientId', 'certSubject', 'actor'),
    cause: isDenial ? `${text('verb')}_denied` : text('reason', 'refusal'),
    address: text('ip'),
    detail: isDenial ? `${text('topic')}: ${text('why')}` : text('detail'),
  };
}
