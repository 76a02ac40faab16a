/**
 * The refusals that concern one device, from the journal of events: those that the server attributes to it, those whose certificate or
 * token names it, and failed connections from its last address. Refusals that repeat are one entry.
 */

import { type DeviceId, type LifecycleEvent, UNKNOWN_NAME } from '@rollcall/protocol';
import type { Refusal } from '../../console/index.ts';
import type { EventLog } from '../events/event-log.ts';
import { type RefusalType, refusalOfEvent } from './refused-event.ts';

export interface RefusalQuery {
  readonly device: DeviceId;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** Serials of certificates that were issued to the device. */
  readonly serials: ReadonlySet<string>;
  /** Ids of the tokens that were created for the device, or that the operator asks about. */
  readonly tokens: ReadonlySet<string>;
  /** The address that the device used last. */
  readonly address: string | undefined;
}

const TYPES = ['presence.connect_failed', 'enroll.refused', 'cert.renewal_refused'] as const;
/** The newest events that are read of each type and name. */
const EVENTS_MAX = 2_000;
const REFUSALS_MAX = 20;

/** Failures in which no certificate names the device. */
const NAMELESS: ReadonlySet<unknown> = new Set([
  'handshake_failed',
  'connect_timeout',
  'certificate_missing',
  'rate_limited',
  'too_many_handshakes',
]);

type Data = Readonly<Record<string, unknown>>;

/** Newest first, at most 20. */
export async function refusalsOf(query: RefusalQuery, events: Pick<EventLog, 'newest'>): Promise<readonly Refusal[]> {
  const { device, since } = query;
  const groups = new Map<string, Refusal>();
  for (const type of TYPES) {
    for (const name of [device, UNKNOWN_NAME]) {
      for (const { json } of await events.newest({ type, name, since, limit: EVENTS_MAX })) {
        const event = JSON.parse(Buffer.from(json).toString()) as LifecycleEvent;
        const attribution = name === device ? 'device' : attributionOf(event.data, query);
        if (attribution !== undefined) add(groups, refusalOf(type, event, attribution));
      }
    }
  }
  return [...groups.values()].sort((one, other) => other.lastAt - one.lastAt).slice(0, REFUSALS_MAX);
}

/** Undefined: the refusal is about something else. */
function attributionOf(
  data: Data,
  { device, serials, tokens, address }: RefusalQuery,
): Refusal['attribution'] | undefined {
  const { actor = '', certSerial = '', certSubject = '', certSan = '', ip, reason } = data as Record<string, string>;
  if (serials.has(certSerial)) return 'certificate';
  if (actor.startsWith('token/') && tokens.has(actor.slice('token/'.length))) return 'token';
  if (certSubject.split(', ').includes(`CN=${device}`) || certSan.split(', ').some((san) => names(san, device)))
    return 'name';
  return ip !== undefined && ip === address && NAMELESS.has(reason) ? 'address' : undefined;
}

function names(san: string, device: DeviceId): boolean {
  return san.startsWith('URI:spiffe://') && san.endsWith(`/device/${device}`);
}

function refusalOf(type: RefusalType, event: LifecycleEvent, attribution: Refusal['attribution']): Refusal {
  const { kind, code, detail, at, leftOut, address, token, certificate, sentence, remedy } = refusalOfEvent(
    type,
    event,
  );
  const { subject, issuer, serial, notBefore, notAfter } = certificate ?? {};
  return {
    kind: kind as Refusal['kind'],
    code,
    detail,
    firstAt: at,
    lastAt: at,
    count: 1,
    isAtLeast: leftOut > 0,
    addresses: address === undefined ? [] : [address],
    token,
    certificate: serial === undefined ? undefined : { subject, issuer, serial, notBefore, notAfter },
    attribution,
    sentence,
    remedy,
  };
}

/** Refusals of one kind, for one reason, with one certificate or token. */
function add(groups: Map<string, Refusal>, refusal: Refusal): void {
  const { kind, code, detail, certificate, token, attribution } = refusal;
  const key = JSON.stringify([kind, code, detail, certificate?.serial, certificate?.issuer, token, attribution]);
  const known = groups.get(key);
  if (known === undefined) {
    groups.set(key, refusal);
    return;
  }
  groups.set(key, {
    ...known,
    firstAt: Math.min(known.firstAt, refusal.firstAt),
    lastAt: Math.max(known.lastAt, refusal.lastAt),
    count: known.count + refusal.count,
    isAtLeast: known.isAtLeast || refusal.isAtLeast,
    addresses: [...new Set([...refusal.addresses, ...known.addresses])].slice(0, ADDRESSES_MAX),
  });
}

const ADDRESSES_MAX = 5;
