import type { LifecycleType } from '@rollcall/protocol';
/** `device`: what a device, or anybody who reaches a port, causes as often as it likes. */
export type EventClass = 'security' | 'operator' | 'certificate' | 'device';

export interface EventRule {
  readonly of: EventClass;
  /** Types with the same name share the budget of one source. Absent: nobody but an operator or the server causes it. */
  readonly limitedAs?: string;
  /** Anybody can cause it under any name: it is limited in all, too. */
  readonly isOfAnybody?: true;
}

export const EVENT_RULES: Readonly<Record<LifecycleType, EventRule>> = {
  // Both in one budget: the last that is told of a device says whether it is connected.
  'presence.connected': { of: 'device', limitedAs: 'presence' },
  'presence.disconnected': { of: 'device', limitedAs: 'presence' },
  'presence.connect_failed': { of: 'device', limitedAs: 'connect_failed', isOfAnybody: true },
  'enroll.enrolled': { of: 'certificate', limitedAs: 'enrolled' },
  'enroll.refused': { of: 'device', limitedAs: 'enroll_refused', isOfAnybody: true },
  'cert.renewed': { of: 'certificate', limitedAs: 'renewed' },
  'cert.superseded': { of: 'certificate', limitedAs: 'superseded' },
  'cert.recovered': { of: 'certificate', limitedAs: 'recovered' },
  'cert.expiring': { of: 'certificate' },
  'cert.revoked': { of: 'operator' },
  'device.suspended': { of: 'operator' },
  'device.resumed': { of: 'operator' },
  'device.quarantined': { of: 'operator' },
  'device.released': { of: 'operator' },
  'device.deleted': { of: 'operator' },
  'device.over_share': { of: 'device', limitedAs: 'over_share' },
  'capacity.share_exceeded': { of: 'device', limitedAs: 'share_exceeded' },
  'security.acl_denied': { of: 'device', limitedAs: 'acl_denied', isOfAnybody: true },
  'security.clone_suspected': { of: 'security', limitedAs: 'clone_suspected' },
  'security.renewal_forked': { of: 'security', limitedAs: 'renewal_forked' },
};

/** Each reserved class has this part of the bytes; all else lies in the rest. */
export const RESERVED_PART = 1 / 8;

export const RESERVED_CLASSES = ['security', 'operator', 'certificate'] as const;
export type ReservedClass = (typeof RESERVED_CLASSES)[number];

/** Undefined for an event of devices, and for a type that this version does not know. */
export function reservedClassOf(type: string): ReservedClass | undefined {
  const rule = Object.hasOwn(EVENT_RULES, type) ? EVENT_RULES[type as LifecycleType] : undefined;
  return rule === undefined || rule.of === 'device' ? undefined : rule.of;
}
