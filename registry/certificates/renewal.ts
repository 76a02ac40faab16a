import { formatIdentity, type Identity } from '@rollcall/protocol';
import { auditTime, type NewAuditEntry, recordDone, recordRefused, recordRefusedAlone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import { findDevice } from '../devices/devices.ts';
import { profileOfDevice } from '../devices/group-profiles.ts';
import type { CertificateRecord, DeviceStatus } from '../registry.ts';
import { findService } from '../services.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { findCertificate, findCertificateByKey, insertCertificate, isLive, lockHolderOf } from './certificates.ts';
import type { Renewal, RenewalAdmission, RenewalOutcome, RenewalRefusal } from './issuance-store.ts';
import { beginOverlap, childrenOf, isSuperseded, markFirstUse } from './supersession.ts';

type RenewalDecision =
  /** `parent` is undefined when there is no such certificate of a device or service. */
  | { readonly outcome: 'refused'; readonly refusal: RenewalRefusal; readonly parent: Identity | undefined }
  | { readonly outcome: 'replayed'; readonly certificate: CertificateRecord }
  | { readonly outcome: 'admitted'; readonly holder: Identity; readonly parent: CertificateRecord };

type Refused = Extract<RenewalDecision, { readonly outcome: 'refused' }>;

export async function admitRenewal(
  database: RegistryDatabase,
  parentSerial: string,
  publicKeySha256: string,
): Promise<RenewalAdmission> {
  const decision = await database.read((tx) => decide(tx, parentSerial, publicKeySha256));
  if (decision.outcome === 'replayed') return decision;
  if (decision.outcome === 'admitted') {
    const { holder } = decision;
    const profile = holder.kind === 'device' ? await database.read((tx) => profileOfDevice(tx, holder.id)) : undefined;
    return { outcome: 'admitted', holder, profile };
  }
  const entry = refusalEntry(decision, parentSerial);
  if (entry !== undefined) await recordRefusedAlone(database, entry);
  return { outcome: 'refused', refusal: decision.refusal };
}

export async function commitRenewal(
  database: RegistryDatabase,
  renewal: Renewal,
  overlapMs: number,
): Promise<RenewalOutcome> {
  const { parentSerial, certificate, address } = renewal;
  return database.write(function* (tx) {
    yield* lockHolderOf(tx, parentSerial);
    const decision = yield* decide(tx, parentSerial, certificate.publicKeySha256);
    if (decision.outcome === 'replayed') return decision;
    if (decision.outcome === 'refused') {
      const entry = refusalEntry(decision, parentSerial);
      if (entry !== undefined) recordRefused(tx, entry);
      return { outcome: 'refused', refusal: decision.refusal };
    }
    const { parent } = decision;
    const siblings = yield* childrenOf(tx, parent, decision.holder);
    // Authenticating a renewal with a certificate is its first use, as a connection is.
    if (parent.parentSerial !== undefined) yield* markFirstUse(tx, parent);
    yield* beginOverlap(tx, parent, overlapMs);
    const record = yield* insertCertificate(tx, decision.holder, certificate, {
      parentSerial,
      tokenId: parent.tokenId,
      operator: parent.operator,
      address,
    });
    const holder = nameOf(decision.holder);
    recordDone(tx, {
      actor: holder,
      action: 'certificate.renewed',
      subject: holder,
      details: { serial: certificate.serial, parentSerial, notAfter: auditTime(certificate.notAfter), address },
    });
    if (siblings.length > 0) {
      recordDone(tx, {
        actor: holder,
        action: 'certificate.renewal_forked',
        subject: holder,
        details: {
          serial: certificate.serial,
          parentSerial,
          others: siblings.join(' '),
          evidence: 'second_key',
          address,
        },
      });
    }
    return { outcome: 'renewed', certificate: record };
  });
}

function* decide(tx: Transaction, parentSerial: string, publicKeySha256: string): Steps<RenewalDecision> {
  const parent = yield* findCertificate(tx, parentSerial);
  if (parent === undefined || parent.holder.kind === 'server') return refused('parent_not_good', undefined);
  if (parent.revokedAt !== undefined) return refused('parent_not_good', parent.holder);
  if (parent.notAfter <= tx.now) return refused('parent_expired', parent.holder);
  const status = yield* statusOf(tx, parent.holder);
  if (status === 'suspended' || status === 'quarantined') return refused(`device_${status}`, parent.holder);
  if (status !== 'active') return refused('parent_not_good', parent.holder);
  const earlier = yield* findCertificateByKey(tx, publicKeySha256);
  // Also for a superseded parent: a device that lost power between the first use of its new certificate and
  // storing it has no other way to get it.
  if (earlier?.parentSerial === parentSerial && isLive(earlier, tx.now)) {
    return { outcome: 'replayed', certificate: earlier };
  }
  if (isSuperseded(parent, tx.now)) return refused('parent_superseded', parent.holder);
  if (earlier !== undefined) return refused('key_reused', parent.holder);
  return { outcome: 'admitted', holder: parent.holder, parent };
}

function refused(refusal: RenewalRefusal, parent: Identity | undefined): Refused {
  return { outcome: 'refused', refusal, parent };
}

/** Undefined when it is unknown whose certificate was presented. */
function refusalEntry({ parent, refusal }: Refused, parentSerial: string): NewAuditEntry | undefined {
  if (parent === undefined) return undefined;
  const holder = nameOf(parent);
  const action = refusal === 'parent_superseded' ? 'certificate.renewal_forked' : 'certificate.renewed';
  return { actor: holder, action, subject: holder, details: { refusal, parentSerial } };
}

function nameOf(holder: Identity): `${Identity['kind']}/${string}` {
  return formatIdentity(holder) as `${Identity['kind']}/${string}`;
}

function* statusOf(tx: Transaction, holder: Identity): Steps<DeviceStatus | undefined> {
  return holder.kind === 'device'
    ? (yield* findDevice(tx, holder.id))?.status
    : (yield* findService(tx, holder.name))?.status;
}
