import type { LifecycleType } from '@rollcall/protocol';

/** `device`: events that a device, or any client that reaches a port, can cause without limit. */
export type EventClass = 'security' | 'operator' | 'certificate' | 'device';

export interface EventRule {
  readonly eventClass: EventClass;
  /** Types with the same name share the budget of one source. Absent: only an operator or the server causes it. */
  readonly limitedAs?: string;
  /** Any client can cause it under any name: its total rate is limited, too. */
  readonly hasGlobalLimit?: true;
}

export const EVENT_RULES: Readonly<Record<LifecycleType, EventRule>> = {
  // Both share one budget: the last event of a device says whether it is connected.
  'presence.connected': { eventClass: 'device', limitedAs: 'presence' },
  'presence.disconnected': { eventClass: 'device', limitedAs: 'presence' },
  'presence.connect_failed': { eventClass: 'device', limitedAs: 'connect_failed', hasGlobalLimit: true },
  'enroll.enrolled': { eventClass: 'certificate', limitedAs: 'enrolled' },
  'enroll.refused': { eventClass: 'device', limitedAs: 'enroll_refused', hasGlobalLimit: true },
  'cert.renewed': { eventClass: 'certificate', limitedAs: 'renewed' },
  'cert.superseded': { eventClass: 'certificate', limitedAs: 'superseded' },
  'cert.recovered': { eventClass: 'certificate', limitedAs: 'recovered' },
  'cert.renewal_refused': { eventClass: 'device', limitedAs: 'renewal_refused', hasGlobalLimit: true },
  'cert.expiring': { eventClass: 'certificate' },
  'cert.revoked': { eventClass: 'operator' },
  'device.suspended': { eventClass: 'operator' },
  'device.resumed': { eventClass: 'operator' },
  'device.quarantined': { eventClass: 'operator' },
  'device.released': { eventClass: 'operator' },
  'device.deleted': { eventClass: 'operator' },
  'device.over_share': { eventClass: 'device', limitedAs: 'over_share' },
  'capacity.share_exceeded': { eventClass: 'device', limitedAs: 'share_exceeded' },
  'security.acl_denied': { eventClass: 'device', limitedAs: 'acl_denied', hasGlobalLimit: true },
  'security.clone_suspected': { eventClass: 'security', limitedAs: 'clone_suspected' },
  'security.renewal_forked': { eventClass: 'security', limitedAs: 'renewal_forked' },
};

/** The part of the bytes that each reserved class has; all other events share the rest. */
export const RESERVED_PART = 1 / 8;

export const RESERVED_CLASSES = ['security', 'operator', 'certificate'] as const;
export type ReservedClass = (typeof RESERVED_CLASSES)[number];

/** Returns undefined for events of devices and for unknown types. */
export function reservedClassOf(type: string): ReservedClass | undefined {
  const rule = Object.hasOwn(EVENT_RULES, type) ? EVENT_RULES[type as LifecycleType] : undefined;
  return rule === undefined || rule.eventClass === 'device' ? undefined : rule.eventClass;
}
