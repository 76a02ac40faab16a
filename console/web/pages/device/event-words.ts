/** Events of one device in words, for its timeline. docs/events.md has the fields. */

import type { Tone } from '../../parts/badge.tsx';
import type { FleetEvent } from '../devices/fleet-event.ts';

/** Every type that can have a device as its subject. */
export const ONE_DEVICE_EVENTS = [
  'presence.connected',
  'presence.disconnected',
  'presence.connect_failed',
  'enroll.enrolled',
  'enroll.refused',
  'cert.renewed',
  'cert.recovered',
  'cert.superseded',
  'cert.renewal_refused',
  'cert.revoked',
  'device.suspended',
  'device.resumed',
  'device.quarantined',
  'device.released',
  'device.deleted',
  'device.over_share',
  'capacity.share_exceeded',
  'security.acl_denied',
  'security.clone_suspected',
  'security.renewal_forked',
] as const;

interface Wording {
  readonly title: string;
  readonly tone: Tone;
  /** The member of the data that says more. */
  readonly more?: readonly string[];
}

const WORDS: Readonly<Record<string, Wording>> = {
  'presence.connected': { title: 'Connected', tone: 'good', more: ['ip'] },
  'presence.disconnected': { title: 'Disconnected', tone: 'none', more: ['reason'] },
  'presence.connect_failed': { title: 'Connection refused', tone: 'bad', more: ['reason', 'detail', 'ip'] },
  'enroll.enrolled': { title: 'Enrolled', tone: 'info', more: ['actor', 'address'] },
  'enroll.refused': { title: 'Enrollment refused', tone: 'bad', more: ['refusal', 'detail', 'ip'] },
  'cert.renewed': { title: 'Certificate renewed', tone: 'info', more: ['address'] },
  'cert.recovered': { title: 'Certificate recovered after it expired', tone: 'info', more: ['address'] },
  'cert.superseded': { title: 'Earlier certificates superseded', tone: 'info', more: ['reason'] },
  'cert.renewal_refused': { title: 'Renewal refused', tone: 'bad', more: ['refusal', 'detail', 'ip'] },
  'cert.revoked': { title: 'Revoked', tone: 'bad', more: ['reason', 'actor'] },
  'device.suspended': { title: 'Suspended', tone: 'warn', more: ['actor'] },
  'device.resumed': { title: 'Resumed', tone: 'good', more: ['actor'] },
  'device.quarantined': { title: 'Put in quarantine', tone: 'warn', more: ['actor'] },
  'device.released': { title: 'Released from quarantine', tone: 'good', more: ['actor'] },
  'device.deleted': { title: 'Deleted', tone: 'bad', more: ['actor'] },
  'device.over_share': { title: 'Held back: it stored its share of the day', tone: 'warn', more: ['cause'] },
  'capacity.share_exceeded': { title: 'A share was exceeded', tone: 'warn', more: ['kept', 'stream'] },
  'security.acl_denied': { title: 'Refused by policy', tone: 'bad', more: ['verb', 'topic', 'why'] },
  'security.clone_suspected': { title: 'Its certificate seems to be in two places', tone: 'bad', more: ['evidence'] },
  'security.renewal_forked': { title: 'Two keys asked to renew one certificate', tone: 'bad', more: ['evidence'] },
};

export interface EventInWords {
  readonly title: string;
  readonly tone: Tone;
  /** What a device or a stranger may have written. */
  readonly more: string;
}

export function eventInWords({ type, data }: FleetEvent): EventInWords {
  const wording = Object.hasOwn(WORDS, type) ? WORDS[type] : undefined;
  const { title, tone, more = [] } = wording ?? { title: type, tone: 'none' as const };
  const texts = more.flatMap((name) => {
    const value = data[name];
    if (value === undefined) return [];
    const isCode = name === 'reason' || name === 'refusal' || name === 'why' || name === 'evidence';
    return [isCode ? String(value).replaceAll('_', ' ') : String(value)];
  });
  return { title, tone, more: texts.join(' · ') };
}
