/**
 * What happens to a fleet, as services and sinks hear it: a closed list of types, and one shape for all of them, an event
 * of CloudEvents 1.0 in its JSON form. Says neither who finds out nor who keeps it. docs/events.md shows each type.
 */

/** The area and what happened in it; two levels of the topic. A new one is added here, and to docs/events.md. */
export const LIFECYCLE_TYPES = [
  'presence.connected',
  'presence.disconnected',
  'presence.connect_failed',
  'enroll.enrolled',
  'enroll.refused',
  'cert.renewed',
  'cert.superseded', // a device enrolled again: what it held before is worth nothing
  'cert.recovered', // renewed after its end
  'cert.expiring', // once a day: how many end soon, and how many are late to renew
  'cert.revoked',
  'device.suspended',
  'device.resumed',
  'device.quarantined',
  'device.released', // from quarantine
  'device.deleted',
  'device.over_share', // a device or group stored more than its share of the day, and is held
  'capacity.share_exceeded', // a device or service had more kept for it than its share
  'security.acl_denied',
  'security.clone_suspected',
  'security.renewal_forked', // two keys asked to follow one certificate
] as const;
export type LifecycleType = (typeof LIFECYCLE_TYPES)[number];

/** Stands for the name in topics and in the journal where nobody is known; no device or service can be called so. */
export const UNKNOWN_NAME = '-';

export interface LifecycleEvent {
  readonly specversion: '1.0';
  /** With `source` the name of this event: two with the same are one that was told twice. */
  readonly id: string;
  /** `fleet.` and the type. */
  readonly type: `fleet.${LifecycleType}`;
  /** `//<trust domain>/<component>`. */
  readonly source: string;
  /** `devices/<id>` or `services/<name>`; absent where nobody is known. */
  readonly subject?: string;
  /** RFC 3339, UTC. When it happened, by the server's clock. */
  readonly time: string;
  readonly datacontenttype: 'application/json';
  readonly data: Readonly<Record<string, LifecycleValue>>;
}

export type LifecycleValue = string | number | boolean | readonly string[];

export const LIFECYCLE_MEDIA_TYPE = 'application/cloudevents+json';

export function isLifecycleType(text: string): text is LifecycleType {
  return (LIFECYCLE_TYPES as readonly string[]).includes(text);
}
