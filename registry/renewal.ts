/**
 * How a certificate begets its successor: the parent vouches, the key is new. The parent stays good, because the
 * answer may be lost on the way; it is not this file that ends it.
 */

import { formatIdentity, type Identity } from '../contract/identity.ts';
import { auditTime, keepsRefusal, recordDone, recordRefused } from './audit.ts';
import { findCertificate, findCertificateByKey, insertCertificate, isLive } from './certificates.ts';
import type { RegistryDatabase } from './database.ts';
import { findDevice } from './devices.ts';
import type { CertificateRecord, DeviceStatus, Renewal, RenewalOutcome, RenewalRefusal } from './registry.ts';
import { findService } from './services.ts';
import type { Transaction } from './transaction.ts';

type Judgement =
  /** `parent` is undefined when there is no such certificate of a device or service. */
  | { readonly outcome: 'refused'; readonly refusal: RenewalRefusal; readonly parent: Identity | undefined }
  | { readonly outcome: 'replayed'; readonly certificate: CertificateRecord }
  | { readonly outcome: 'admitted'; readonly holder: Identity; readonly parent: CertificateRecord };

type Refused = Extract<Judgement, { readonly outcome: 'refused' }>;

export type RenewalAdmission =
  | { readonly outcome: 'refused'; readonly refusal: RenewalRefusal }
  | { readonly outcome: 'replayed'; readonly certificate: CertificateRecord }
  | { readonly outcome: 'admitted'; readonly holder: Identity };

export function admitRenewal(
  database: RegistryDatabase,
  parentSerial: string,
  publicKeySha256: string,
): RenewalAdmission {
  const judgement = database.read((tx) => judge(tx, parentSerial, publicKeySha256));
  if (judgement.outcome === 'replayed') return judgement;
  if (judgement.outcome === 'admitted') return { outcome: 'admitted', holder: judgement.holder };
  if (database.read((tx) => isWorthRecording(tx, judgement))) database.write((tx) => recordRefusal(tx, judgement));
  return { outcome: 'refused', refusal: judgement.refusal };
}

export function commitRenewal(database: RegistryDatabase, renewal: Renewal): RenewalOutcome {
  const { parentSerial, certificate, address } = renewal;
  return database.write((tx) => {
    const judgement = judge(tx, parentSerial, certificate.publicKeySha256);
    if (judgement.outcome === 'replayed') return judgement;
    if (judgement.outcome === 'refused') {
      recordRefusal(tx, judgement);
      return { outcome: 'refused', refusal: judgement.refusal };
    }
    const record = insertCertificate(tx, judgement.holder, certificate, {
      parentSerial,
      tokenId: judgement.parent.tokenId,
      operator: judgement.parent.operator,
      address,
    });
    const holder = nameOf(judgement.holder);
    recordDone(tx, {
      actor: holder,
      action: 'certificate.renewed',
      subject: holder,
      details: { serial: certificate.serial, parentSerial, notAfter: auditTime(certificate.notAfter), address },
    });
    return { outcome: 'renewed', certificate: record };
  });
}

function judge(tx: Transaction, parentSerial: string, publicKeySha256: string): Judgement {
  const parent = findCertificate(tx, parentSerial);
  if (parent === undefined || parent.holder.kind === 'server') return refused('parent_not_good', undefined);
  if (!isLive(parent, tx.now)) return refused('parent_not_good', parent.holder);
  const status = statusOf(tx, parent.holder);
  if (status === 'suspended' || status === 'quarantined') return refused(`device_${status}`, parent.holder);
  if (status !== 'active') return refused('parent_not_good', parent.holder);
  const earlier = findCertificateByKey(tx, publicKeySha256);
  if (earlier === undefined) return { outcome: 'admitted', holder: parent.holder, parent };
  if (earlier.parentSerial === parentSerial && isLive(earlier, tx.now)) {
    return { outcome: 'replayed', certificate: earlier };
  }
  return refused('key_reused', parent.holder);
}

function refused(refusal: RenewalRefusal, parent: Identity | undefined): Refused {
  return { outcome: 'refused', refusal, parent };
}

function isWorthRecording(tx: Transaction, { parent }: Refused): boolean {
  return parent !== undefined && keepsRefusal(tx, nameOf(parent));
}

function recordRefusal(tx: Transaction, { parent, refusal }: Refused): void {
  if (parent === undefined) return;
  const holder = nameOf(parent);
  recordRefused(tx, { actor: holder, action: 'certificate.renewed', subject: holder, details: { refusal } });
}

function nameOf(holder: Identity): `${Identity['kind']}/${string}` {
  return formatIdentity(holder) as `${Identity['kind']}/${string}`;
}

function statusOf(tx: Transaction, holder: Identity): DeviceStatus | undefined {
  return holder.kind === 'device' ? findDevice(tx, holder.id)?.status : findService(tx, holder.name)?.status;
}
