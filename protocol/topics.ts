/**
 * The topics of a fleet, and the only code that builds, parses or matches topic names and filters.
 * Wildcards and `$` follow MQTT 3.1.1, section 4.7. Access rules are in `broker/access/acl.ts`.
 */

import { type DeviceId, type GroupName, parseDeviceId, parseGroupName } from './identity.ts';
import { type LifecycleType, UNKNOWN_NAME } from './lifecycle.ts';

/** A level named by Rollcall or an application: a stream, an event type, a command name, a request id, the key of a message. */
export const LEVEL_RULE = 'one to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit';

const LEVEL = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export interface TopicLimits {
  /** Bytes of UTF-8 in a topic name or filter, at most. */
  readonly maxBytes: number;
  /** Levels, at most. aedes itself stops at 100. */
  readonly maxLevels: number;
}

/** What every topic of a device begins with. */
export function deviceTopicPrefix(device: DeviceId): string {
  return `devices/${device}/`;
}

/** The telemetry topic of a stream. With a key, which identifies the message within its device, it is the topic of the PUBLISH; subscribers receive it without the key. */
export function telemetryTopic(device: DeviceId, stream: string, key?: string): string {
  const topic = `devices/${device}/telemetry/${level(stream, 'stream')}`;
  return key === undefined ? topic : withKey(topic, key);
}

/** Appends a message key to a telemetry topic. */
export function withKey(topic: string, key: string): string {
  return `${topic}/${level(key, 'message key')}`;
}

/** Whether a text can be the key of a message: one to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit. */
export function isMessageKey(text: string): boolean {
  return LEVEL.test(text);
}

/** Where the fourth level of `devices/{id}/telemetry/{stream}/{key}` ends; the whole length for every other topic. */
export function lengthWithoutKey(topic: string): number {
  const id = topic.indexOf('/', 8);
  if (id < 0 || !topic.startsWith('devices/') || !topic.startsWith('/telemetry/', id)) return topic.length;
  const stream = topic.indexOf('/', id + 11);
  return stream < 0 || topic.includes('/', stream + 1) ? topic.length : stream;
}

/** Filters for the telemetry and the command responses of all devices. */
export const ALL_TELEMETRY_FILTER = 'devices/+/telemetry/+';
export const ALL_RESPONSES_FILTER = 'devices/+/responses/+';

/** Filters of services: of one device or of all, and of one stream or event type or of all. */
export function telemetryFilter(device?: DeviceId, stream?: string): string {
  return `devices/${device ?? '+'}/telemetry/${stream === undefined ? '+' : level(stream, 'stream')}`;
}

export function eventFilter(device?: DeviceId, type?: string): string {
  return `devices/${device ?? '+'}/events/${type === undefined ? '+' : level(type, 'event type')}`;
}

export function reportedFilter(device?: DeviceId): string {
  return `devices/${device ?? '+'}/twin/reported`;
}

/** The filter of the fleet's own events: of one type or of all, and of one device or service or of all. */
export function lifecycleFilter(type?: LifecycleType, name?: string): string {
  const [area = '+', what = '+'] = type?.split('.') ?? [];
  return `$fleet/events/${area}/${what}/${name === undefined ? '+' : level(name, 'name')}`;
}

export function eventTopic(device: DeviceId, type: string): string {
  return `devices/${device}/events/${level(type, 'event type')}`;
}

export function commandTopic(device: DeviceId, name: string, requestId: string): string {
  return `devices/${device}/commands/${level(name, 'command name')}/${level(requestId, 'request id')}`;
}

/** The filter under which a device receives all of its commands. */
export function commandFilter(device: DeviceId): string {
  return `devices/${device}/commands/+/+`;
}

export function responseTopic(device: DeviceId, requestId: string): string {
  return `devices/${device}/responses/${level(requestId, 'request id')}`;
}

export function twinTopic(device: DeviceId, side: 'desired' | 'reported'): string {
  return `devices/${device}/twin/${side}`;
}

/** The filter under which a device receives all broadcasts to a group. */
export function broadcastFilter(group: GroupName): string {
  return `groups/${group}/broadcast/+`;
}

export function broadcastTopic(group: GroupName, name: string): string {
  return `groups/${group}/broadcast/${level(name, 'broadcast name')}`;
}

/** Topics that only the server writes. */
function fleetEventTopic(path: readonly string[]): string {
  return ['$fleet', 'events', ...path.map((part) => level(part, 'event path'))].join('/');
}

/** The topic of an event for services: `$fleet/events/presence/connected/dev-7`; the last level is `-` when no device or service is known. */
export function lifecycleTopic(type: LifecycleType, name: string | undefined): string {
  const topic = fleetEventTopic(type.split('.'));
  return `${topic}/${name === undefined ? UNKNOWN_NAME : level(name, 'name')}`;
}

/** The trust bundle, PEM, retained: every device may read it, and only the server writes it. */
export const TRUST_BUNDLE_TOPIC = '$fleet/trust-bundle';

/** Retained while the server requests an earlier renewal of this device; a `RenewalNotice` in JSON. */
export function renewalNoticeTopic(device: DeviceId): string {
  return `devices/${device}/server/renewal`;
}

/** The filter for the server's notices to one device. */
export function serverNoticeFilter(device: DeviceId): string {
  return `devices/${device}/server/+`;
}

const SERVER_TOPIC = /^(?:\$|devices\/[^/]*\/server(?:\/|$))/;

/** Topics that the server alone writes, whatever a policy says. */
export function isServerTopic(topic: string): boolean {
  return SERVER_TOPIC.test(topic);
}

/** Topics that belong to a device, of a known kind or not. */
export function isDeviceTopic(topic: string): boolean {
  return topic.startsWith('devices/');
}

export type DeviceTopic =
  | { readonly kind: 'telemetry'; readonly device: DeviceId; readonly stream: string; readonly key?: string }
  | { readonly kind: 'event'; readonly device: DeviceId; readonly type: string }
  | { readonly kind: 'command'; readonly device: DeviceId; readonly name: string; readonly requestId: string }
  | { readonly kind: 'response'; readonly device: DeviceId; readonly requestId: string }
  | { readonly kind: 'twin'; readonly device: DeviceId; readonly side: 'desired' | 'reported' };

/** Parses a topic that one of the functions above builds; undefined for every other topic. */
export function parseDeviceTopic(topic: string): DeviceTopic | undefined {
  if (!isDeviceTopic(topic)) return undefined;
  const levels = topic.split('/');
  const device = parseDeviceId(levels[1] ?? '');
  const [, , area, first, second] = levels;
  if (device === undefined || first === undefined || !LEVEL.test(first)) return undefined;
  if (area === 'commands') {
    if (levels.length !== 5 || second === undefined || !LEVEL.test(second)) return undefined;
    return { kind: 'command', device, name: first, requestId: second };
  }
  if (area === 'telemetry' && levels.length === 5 && second !== undefined && LEVEL.test(second)) {
    return { kind: 'telemetry', device, stream: first, key: second };
  }
  if (levels.length !== 4) return undefined;
  if (area === 'telemetry') return { kind: 'telemetry', device, stream: first };
  if (area === 'events') return { kind: 'event', device, type: first };
  if (area === 'responses') return { kind: 'response', device, requestId: first };
  if (area === 'twin' && (first === 'desired' || first === 'reported')) return { kind: 'twin', device, side: first };
  return undefined;
}

/** Reads what {@link broadcastTopic} writes; undefined for every other topic. */
export function parseBroadcastTopic(topic: string): { readonly group: GroupName; readonly name: string } | undefined {
  const levels = topic.split('/');
  const [root, groupText = '', area, name = ''] = levels;
  const group = parseGroupName(groupText);
  if (root !== 'groups' || area !== 'broadcast' || levels.length !== 4) return undefined;
  return group === undefined || !LEVEL.test(name) ? undefined : { group, name };
}

/** A topic name: not empty, no wildcard, no NUL, within the limits [MQTT-3.3.2-2, MQTT-4.7.3-1..3]. */
export function isTopicName(topic: string, limits: TopicLimits): boolean {
  return !topic.includes('+') && !topic.includes('#') && isWithin(topic, limits);
}

/** A topic filter: `#` alone in the last level, `+` alone in its level [MQTT-4.7.1-2, MQTT-4.7.1-3]. */
export function isTopicFilter(filter: string, limits: TopicLimits): boolean {
  if (!isWithin(filter, limits)) return false;
  const levels = filter.split('/');
  return levels.every((part, index) => {
    if (part.includes('#')) return part === '#' && index === levels.length - 1;
    return !part.includes('+') || part === '+';
  });
}

/** Whether a topic name falls under a filter. A leading wildcard never matches a leading `$` [MQTT-4.7.2-1]. */
export function filterMatches(filter: string, topic: string): boolean {
  return filterCovers(filter, topic);
}

/**
 * Whether every topic that `inner` can match is matched by `outer` too. With a topic name as `inner` this is plain
 * matching. It decides subscriptions: a filter may be granted only if the grant covers all of it.
 */
export function filterCovers(outer: string, inner: string): boolean {
  if (isDollar(inner) !== isDollar(outer)) return false;
  let o = 0;
  let i = 0;
  for (;;) {
    const outerEnd = levelEnd(outer, o);
    const innerEnd = levelEnd(inner, i);
    const outerLevel = outer.slice(o, outerEnd);
    if (outerLevel === '#') return true;
    const innerLevel = inner.slice(i, innerEnd);
    if (innerLevel === '#') return false;
    if (outerLevel !== '+' && outerLevel !== innerLevel) return false;
    const outerDone = outerEnd === outer.length;
    const innerDone = innerEnd === inner.length;
    if (outerDone || innerDone) {
      // `sport/#` matches `sport` as well: the number sign includes the parent level (MQTT 3.1.1, 4.7.1.2).
      return (outerDone && innerDone) || (innerDone && outer.slice(outerEnd) === '/#');
    }
    o = outerEnd + 1;
    i = innerEnd + 1;
  }
}

const SHARE = '$share/';

/** Whether a filter asks for a shared subscription (MQTT 5, 4.8.2); `parseShare` finds out whether it is well formed. */
export function isShared(filter: string): boolean {
  return filter.startsWith(SHARE);
}

/**
 * Reads `$share/GROUP/FILTER`: the group has at least one character and no wildcard, and a filter follows [MQTT-4.8.2-1, MQTT-4.8.2-2].
 * The filter is not checked, except that it cannot be a shared one again. Undefined for every other text.
 */
export function parseShare(filter: string): { readonly group: string; readonly filter: string } | undefined {
  if (!filter.startsWith(SHARE)) return undefined;
  const end = filter.indexOf('/', SHARE.length);
  if (end <= SHARE.length || end === filter.length - 1) return undefined;
  const group = filter.slice(SHARE.length, end);
  const rest = filter.slice(end + 1);
  if (group.includes('+') || group.includes('#') || rest.startsWith(SHARE)) return undefined;
  return { group, filter: rest };
}

/** The levels of a topic or filter. */
export function topicLevels(topic: string): readonly string[] {
  return topic.split('/');
}

function isDollar(text: string): boolean {
  return text.startsWith('$');
}

function levelEnd(text: string, from: number): number {
  const slash = text.indexOf('/', from);
  return slash < 0 ? text.length : slash;
}

function isWithin(text: string, limits: TopicLimits): boolean {
  if (text.length === 0 || text.includes('\u0000') || Buffer.byteLength(text) > limits.maxBytes) return false;
  let levels = 1;
  for (let at = text.indexOf('/'); at >= 0; at = text.indexOf('/', at + 1)) levels += 1;
  return levels <= limits.maxLevels;
}

function level(text: string, what: string): string {
  if (!LEVEL.test(text)) throw new RangeError(`expected a ${what} of ${LEVEL_RULE}`);
  return text;
}
