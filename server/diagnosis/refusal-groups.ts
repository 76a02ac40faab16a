/**
 * Refusals of all devices over a time, from the journal of events: those of one party for one reason are one group, and counts per
 * bucket of time. Reads the newest 5,000 events of each type at most, one query after the other, and lets others run between.
 */

import { type DeviceId, type LifecycleEvent, UNKNOWN_NAME } from '@rollcall/protocol';
import {
  isSelected,
  type RefusalControl,
  type RefusalFacts,
  type RefusalGroup,
  type RefusalList,
  type RefusalQuery,
} from '../../console/index.ts';
import type { Position } from '../../telemetry/index.ts';
import type { EventLog, StoredEvent } from '../events/event-log.ts';
import { isRefusalType, KIND_OF_TYPE, REFUSAL_TYPES, type RefusalType, refusalOfEvent } from './refused-event.ts';

/** Of one type. Larger ones are read from the newest on. */
const EVENTS_MAX = 5_000;
/** Of one query: what crosses from the reader's thread is unpacked at once. */
const EVENTS_PER_QUERY = 500;
/** Events that are read per turn of the event loop: about a millisecond. */
const CHUNK = 100;
const FEW = 5;
const BUCKETS_MAX = 120;
const BUCKET_SECONDS = [10, 30, 60, 300, 900, 3_600, 10_800, 21_600, 86_400, 604_800] as const;

export function createRefusalControl(events: Pick<EventLog, 'newest'>): RefusalControl {
  let running: Promise<unknown> = Promise.resolve();
  return {
    list: (query) => {
      const result = running.then(() => listRefusals(events, query));
      running = result.catch(() => {});
      return result;
    },
    ofEvent: (type, json) => (isRefusalType(type) ? refusalOfEvent(type, parse(json)) : undefined),
  };
}

async function listRefusals(events: Pick<EventLog, 'newest'>, query: RefusalQuery): Promise<RefusalList> {
  const groups = new Map<string, RefusalGroup>();
  const buckets = new RefusalBuckets(query);
  let readSince = query.since;
  for (const type of REFUSAL_TYPES) {
    if (query.kind !== undefined && KIND_OF_TYPE[type] !== query.kind) continue;
    for (const name of namesOf(query.device)) {
      const { found, oldest } = await readNewest(events, type, name, query);
      if (oldest !== undefined) readSince = Math.max(readSince, oldest);
      for (const refusal of found) {
        if (!isSelected(refusal, query)) continue;
        buckets.add(refusal);
        groups.set(refusal.key, merged(groups.get(refusal.key), refusal));
      }
    }
  }
  const sorted = [...groups.values()].sort((one, other) => other.lastAt - one.lastAt);
  return {
    groups: sorted.slice(0, query.limit),
    moreGroups: Math.max(0, sorted.length - query.limit),
    readSince,
    bucketMs: buckets.ms,
    buckets: buckets.list(),
  };
}

/** Events of one device, and those of nobody, which may name it; or all. */
function namesOf(device: DeviceId | undefined): readonly (string | undefined)[] {
  return device === undefined ? [undefined] : [device, UNKNOWN_NAME];
}

/** `oldest`: of the events that were read, where there are more. */
async function readNewest(
  events: Pick<EventLog, 'newest'>,
  type: RefusalType,
  name: string | undefined,
  { since, until }: RefusalQuery,
): Promise<{ readonly found: readonly RefusalFacts[]; readonly oldest: number | undefined }> {
  const stored: StoredEvent[] = [];
  for (let before: Position | undefined; stored.length < EVENTS_MAX; before = stored[0]?.position) {
    const page = await events.newest({ type, name, since, until, before, limit: EVENTS_PER_QUERY });
    stored.unshift(...page);
    if (page.length < EVENTS_PER_QUERY) break;
  }
  const found: RefusalFacts[] = [];
  for (const [index, { json }] of stored.entries()) {
    if (index > 0 && index % CHUNK === 0) await new Promise((resolve) => setImmediate(resolve));
    found.push(refusalOfEvent(type, parse(json)));
  }
  return { found, oldest: stored.length < EVENTS_MAX ? undefined : found[0]?.at };
}

function parse(json: Uint8Array): LifecycleEvent {
  return JSON.parse(Buffer.from(json).toString()) as LifecycleEvent;
}

/** Refusals of one type come in the order of their times. */
function merged(group: RefusalGroup | undefined, refusal: RefusalFacts): RefusalGroup {
  const { at, leftOut, address, topic, ...facts } = refusal;
  return {
    ...facts,
    certificate: facts.certificate ?? group?.certificate,
    count: (group?.count ?? 0) + 1,
    isAtLeast: leftOut > 0 || group?.isAtLeast === true,
    firstAt: Math.min(group?.firstAt ?? at, at),
    lastAt: Math.max(group?.lastAt ?? at, at),
    addresses: withNewest(group?.addresses, address),
    topics: withNewest(group?.topics, topic),
  };
}

function withNewest(known: readonly string[] = [], text: string | undefined): readonly string[] {
  return text === undefined ? known : [text, ...known.filter((one) => one !== text)].slice(0, FEW);
}

class RefusalBuckets {
  readonly ms: number;
  readonly #first: number;
  readonly #buckets: RefusalList['buckets'][number][];

  constructor({ since, until }: RefusalQuery) {
    const seconds = Math.max(0, until - since) / 1000;
    const size = BUCKET_SECONDS.find((one) => seconds / one <= BUCKETS_MAX) ?? Math.ceil(seconds / BUCKETS_MAX);
    this.ms = size * 1000;
    this.#first = Math.floor(since / this.ms);
    const last = Math.max(this.#first, Math.ceil(until / this.ms) - 1);
    this.#buckets = Array.from({ length: last - this.#first + 1 }, (_, index) => {
      return { at: (this.#first + index) * this.ms, connection: 0, enrollment: 0, renewal: 0, topic: 0 };
    });
  }

  add({ at, kind, leftOut }: RefusalFacts): void {
    const index = Math.floor(at / this.ms) - this.#first;
    const bucket = this.#buckets[index];
    if (bucket !== undefined) this.#buckets[index] = { ...bucket, [kind]: bucket[kind] + 1 + leftOut };
  }

  list(): RefusalList['buckets'] {
    return this.#buckets;
  }
}
