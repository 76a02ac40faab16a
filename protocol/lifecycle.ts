/**
 * Events of a fleet for services and sinks: a closed list of types, and one shape for all of them, CloudEvents 1.0 in
 * JSON. docs/events.md shows each type.
 */

/** Area and event, two levels of the topic. Add a new type here and in docs/events.md. */
export const LIFECYCLE_TYPES = [
  'presence.connected',
  'presence.disconnected',
  'presence.connect_failed',
  'enroll.enrolled',
  'enroll.refused',
  'cert.renewed',
  'cert.superseded', // a device enrolled again; its earlier certificates are superseded
  'cert.recovered', // renewed after expiry
  'cert.renewal_refused', // the EST server refused a client certificate, or the renewal that it authenticated
  'cert.expiring', // once a day and kind: how many expire soon, and how many are late to renew
  'cert.revoked',
  'device.suspended',
  'device.resumed',
  'device.quarantined',
  'device.released', // from quarantine
  'device.deleted',
  'device.over_share', // a device or group stored more than its daily share and is limited
  'capacity.share_exceeded', // the stored messages of a device or service exceed its share
  'security.acl_denied',
  'security.clone_suspected',
  'security.renewal_forked', // two keys requested the renewal of one certificate
] as const;
export type LifecycleType = (typeof LIFECYCLE_TYPES)[number];

/** The name in topics and in the journal when no device or service is known. No device or service can have this name. */
export const UNKNOWN_NAME = '-';

export interface LifecycleEvent {
  readonly specversion: '1.0';
  /** Unique together with `source`: two events with the same pair are duplicates. */
  readonly id: string;
  /** `fleet.` and the type. */
  readonly type: `fleet.${LifecycleType}`;
  /** `//<trust domain>/<component>`. */
  readonly source: string;
  /** `devices/<id>` or `services/<name>`; absent when no device or service is known. */
  readonly subject?: string;
  /** RFC 3339, UTC. Time of the event by the server's clock. */
  readonly time: string;
  readonly datacontenttype: 'application/json';
  readonly data: Readonly<Record<string, LifecycleValue>>;
}

export type LifecycleValue = string | number | boolean | readonly string[];

export const LIFECYCLE_MEDIA_TYPE = 'application/cloudevents+json';

export function isLifecycleType(text: string): text is LifecycleType {
  return (LIFECYCLE_TYPES as readonly string[]).includes(text);
}
