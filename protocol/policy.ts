/**
 * The shape of a policy document. `broker/access/acl.ts` evaluates it.
 *
 * Every entry is a topic filter or client id with variables that fill exactly one level: `${device.id}`,
 * `${device.group}`, `${device.labels.NAME}` for devices; `${service.name}` for services. No rule means no.
 */

import { DEFAULT_GROUP, type GroupName, type Identity } from './identity.ts';
import { TRUST_BUNDLE_TOPIC } from './topics.ts';

export interface PolicyDocument {
  /** Client ids this identity may connect with. A trailing `*` stands for any rest. */
  readonly connect: readonly string[];
  /** Topics it may publish to, as filters. */
  readonly publish: readonly string[];
  /** Filters it may subscribe to: a subscription must be covered by one of them. */
  readonly subscribe: readonly string[];
  /** Topics that may be delivered to it, as filters; checked again at every delivery. */
  readonly receive: readonly string[];
  /** Topics it may publish with the retain flag, as filters; it needs `publish` as well. */
  readonly retain: readonly string[];
}

/** Every device in quarantine, whatever its group. */
export const QUARANTINE_SCOPE = 'quarantine/*';

/** What a policy applies to: a group of devices, one service, all services without a policy of their own, or quarantine. */
export type PolicyScope = `group/${string}` | `service/${string}` | typeof QUARANTINE_SCOPE;

export const DEFAULT_SERVICE_SCOPE: PolicyScope = 'service/*';
export const DEFAULT_DEVICE_SCOPE: PolicyScope = `group/${DEFAULT_GROUP}`;

/** The scopes that apply to an identity, the most specific first; the first that has a policy decides alone. */
export function policyScopes(identity: Identity, group: GroupName): readonly PolicyScope[] {
  if (identity.kind === 'service') return [`service/${identity.name}`, DEFAULT_SERVICE_SCOPE];
  return [`group/${group}`, DEFAULT_DEVICE_SCOPE];
}

/** Clients often subscribe to everything below a topic. What is delivered is decided by the rules of `receive`. */
const OWN_COMMANDS_FILTER = 'devices/${device.id}/commands/#';
const OWN_COMMANDS = 'devices/${device.id}/commands/+/+';

const DEVICE_RECEIVES_BESIDE_COMMANDS = [
  'devices/${device.id}/twin/desired',
  'devices/${device.id}/server/+',
  'groups/${device.group}/broadcast/+',
  TRUST_BUNDLE_TOPIC,
];

/** The policy of a group for which none was set: its own topics only. */
export const DEFAULT_DEVICE_POLICY: PolicyDocument = {
  connect: ['${device.id}'],
  publish: [
    'devices/${device.id}/telemetry/+',
    'devices/${device.id}/events/+',
    'devices/${device.id}/responses/+',
    'devices/${device.id}/twin/reported',
  ],
  subscribe: [OWN_COMMANDS_FILTER, ...DEVICE_RECEIVES_BESIDE_COMMANDS],
  receive: [OWN_COMMANDS, ...DEVICE_RECEIVES_BESIDE_COMMANDS],
  retain: ['devices/${device.id}/twin/reported'],
};

const SERVICE_RECEIVES = [
  'devices/+/telemetry/+',
  'devices/+/events/+',
  'devices/+/responses/+',
  'devices/+/twin/reported',
  // A writer of a desired state reads the one before it, whose version it has to exceed.
  'devices/+/twin/desired',
  '$fleet/events/#',
  TRUST_BUNDLE_TOPIC,
];

/** The policy of a service for which none was set: it receives from every device and may send commands to every device. */
export const DEFAULT_SERVICE_POLICY: PolicyDocument = {
  connect: ['${service.name}', '${service.name}-*'],
  publish: ['devices/+/commands/+/+', 'devices/+/twin/desired', 'groups/+/broadcast/+'],
  subscribe: SERVICE_RECEIVES,
  receive: SERVICE_RECEIVES,
  retain: ['devices/+/twin/desired'],
};

/** For a device in quarantine, when nothing else was set: it may receive commands and respond to them. */
export const QUARANTINE_POLICY: PolicyDocument = {
  connect: ['${device.id}'],
  publish: ['devices/${device.id}/responses/+'],
  subscribe: [OWN_COMMANDS_FILTER, TRUST_BUNDLE_TOPIC],
  receive: [OWN_COMMANDS, TRUST_BUNDLE_TOPIC],
  retain: [],
};
