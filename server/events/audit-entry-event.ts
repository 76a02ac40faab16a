import { type Identity, type LifecycleType, type LifecycleValue, parseIdentity } from '@rollcall/protocol';
import type { AuditEntry } from '../../registry/index.ts';
import type { FleetEvent } from './event-log.ts';

/** The event type by action of an audit entry, followed by the outcome unless it is `done`. */
const TYPE_OF: Readonly<Record<string, LifecycleType>> = {
  'device.enrolled': 'enroll.enrolled',
  'service.issued': 'enroll.enrolled',
  'certificate.renewed': 'cert.renewed',
  'certificate.recovered': 'cert.recovered',
  'certificates.counted': 'cert.expiring',
  'device.superseded': 'cert.superseded',
  'device.revoked': 'cert.revoked',
  'certificate.revoked_alone': 'cert.revoked',
  'service.revoked': 'cert.revoked',
  'device.suspended': 'device.suspended',
  'device.resumed': 'device.resumed',
  'device.quarantined': 'device.quarantined',
  'device.released': 'device.released',
  'device.deleted': 'device.deleted',
  'service.clone_suspected': 'security.clone_suspected',
  'device.clone_suspected': 'security.clone_suspected',
  'certificate.clone_suspected': 'security.clone_suspected',
  'certificate.renewal_forked': 'security.renewal_forked',
  'certificate.renewal_forked refused': 'security.renewal_forked',
  'device.renewal_forked': 'security.renewal_forked',
};

/** Returns undefined for an entry that causes no fleet event. */
export function fleetEventOf(entry: AuditEntry): FleetEvent | undefined {
  const { action, outcome, actor, subject, details, at } = entry;
  const key = outcome === 'done' ? action : `${action} ${outcome}`;
  const type = Object.hasOwn(TYPE_OF, key) ? TYPE_OF[key] : undefined;
  if (type === undefined) return undefined;
  const { serial, device, ...rest } = details;
  const data: Record<string, LifecycleValue> = { actor };
  const who = identityOf(subject) ?? (device === undefined ? undefined : identityOf(`device/${device}`));
  if (who === undefined) data.about = subject;
  if (serial !== undefined) data.certSerial = serial;
  Object.assign(data, rest);
  return { type, at, component: 'registry', subject: who, data };
}

/** The identity of `device/dev-7` or `service/dashboard`; tokens, issuers and policies have none. */
function identityOf(subject: string): Identity | undefined {
  return subject.includes('/') ? parseIdentity(subject) : undefined;
}
