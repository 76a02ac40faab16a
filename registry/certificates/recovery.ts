import { formatIdentity, type Identity } from '@rollcall/protocol';
import { auditTime, type NewAuditEntry, recordDone, recordRefused, recordRefusedAlone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import { findDevice } from '../devices/devices.ts';
import { type GroupProfile, profileOfDevice } from '../devices/group-profiles.ts';
import type { Actor, CertificateRecord } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { findCertificate, findCertificateByKey, insertCertificate, isLive, lockHolderOf } from './certificates.ts';
import type { RecoveryRefusal, Renewal } from './issuance-store.ts';
import { isSuperseded } from './supersession.ts';

export interface RecoveryLimits {
  /** How long after its expiry, milliseconds. */
  readonly graceMs: number;
  /** How often with one key; 0: never. */
  readonly recoveries: number;
}

export const DEFAULT_RECOVERY: RecoveryLimits = { graceMs: 30 * 24 * 3_600_000, recoveries: 3 };

export interface RecoveryClaim {
  readonly serial: string;
  /** The certificate that the client presented, DER. */
  readonly der: Uint8Array;
  readonly publicKeySha256: string;
}

export interface RecoveryStore {
  /** Checks whether a claim could succeed, before a certificate is signed for it. Writes nothing but audited refusals. */
  admitRecovery(claim: RecoveryClaim): Promise<RecoveryAdmission>;
  commitRecovery(renewal: Renewal & { readonly der: Uint8Array }): Promise<RecoveryOutcome>;
}

type Refused = { readonly outcome: 'refused'; readonly refusal: RecoveryRefusal };
type Replayed = { readonly outcome: 'replayed'; readonly certificate: CertificateRecord };
export type RecoveryAdmission =
  | Refused
  | Replayed
  | { readonly outcome: 'admitted'; readonly holder: Identity; readonly profile?: GroupProfile | undefined };
export type RecoveryOutcome =
  | Refused
  | Replayed
  | { readonly outcome: 'recovered'; readonly certificate: CertificateRecord };

type RecoveryDecision =
  | Replayed
  | (Refused & { readonly device: Identity | undefined })
  | { readonly outcome: 'admitted'; readonly parent: CertificateRecord; readonly before: number };

export function createRecoveryStore(database: RegistryDatabase, limits: RecoveryLimits): RecoveryStore {
  return {
    admitRecovery: async (claim) => {
      const decision = await database.read((tx) => decide(tx, claim, limits));
      if (decision.outcome === 'replayed') return decision;
      if (decision.outcome === 'admitted') {
        const holder = decision.parent.holder as Extract<Identity, { readonly kind: 'device' }>;
        return { outcome: 'admitted', holder, profile: await database.read((tx) => profileOfDevice(tx, holder.id)) };
      }
      const { device, refusal } = decision;
      if (device !== undefined) await recordRefusedAlone(database, refusalEntry(device, claim.serial, refusal));
      return { outcome: 'refused', refusal };
    },
    commitRecovery: async ({ parentSerial, certificate, der, address }) =>
      database.write(function* (tx) {
        yield* lockHolderOf(tx, parentSerial);
        const claim = { serial: parentSerial, der, publicKeySha256: certificate.publicKeySha256 };
        const decision = yield* decide(tx, claim, limits);
        if (decision.outcome === 'replayed') return decision;
        if (decision.outcome === 'refused') {
          const { device, refusal } = decision;
          if (device !== undefined) recordRefused(tx, refusalEntry(device, parentSerial, refusal));
          return { outcome: 'refused', refusal };
        }
        const { parent, before } = decision;
        const holder = parent.holder as Identity;
        const { tokenId, operator } = parent;
        const origin = { parentSerial, tokenId, operator, address, recovered: true } as const;
        const record = yield* insertCertificate(tx, holder, certificate, origin);
        const subject = formatIdentity(holder);
        recordDone(tx, {
          actor: subject as Actor,
          action: 'certificate.recovered',
          subject,
          details: {
            serial: certificate.serial,
            parentSerial,
            endedAt: auditTime(parent.notAfter),
            notAfter: auditTime(certificate.notAfter),
            recovery: before + 1,
            ofRecoveries: limits.recoveries,
            severity: 'high',
            address,
          },
        });
        return { outcome: 'recovered', certificate: record };
      }),
  };
}

function* decide(
  tx: Transaction,
  { serial, der, publicKeySha256 }: RecoveryClaim,
  limits: RecoveryLimits,
): Steps<RecoveryDecision> {
  const parent = yield* findCertificate(tx, serial);
  if (parent?.holder.kind !== 'device') return refused('parent_not_good', undefined);
  const { holder } = parent;
  // It equals the issued certificate byte by byte, so that its signature, names and extensions need no other check.
  if (Buffer.compare(parent.der, der) !== 0) return refused('parent_not_good', undefined);
  if (parent.revokedAt !== undefined) return refused('parent_not_good', holder);
  const status = (yield* findDevice(tx, holder.id))?.status;
  if (status === 'suspended' || status === 'quarantined') return refused(`device_${status}`, holder);
  if (status !== 'active') return refused('parent_not_good', holder);
  if (parent.notAfter > tx.now) return refused('parent_not_good', holder); // it can be renewed, with a new key
  if (tx.now >= parent.notAfter + limits.graceMs) return refused('grace_over', holder);
  const newest = yield* findCertificateByKey(tx, publicKeySha256);
  if (newest?.parentSerial === serial && isLive(newest, tx.now)) return { outcome: 'replayed', certificate: newest };
  // A key with a revoked certificate cannot recover an older one.
  if (newest?.revokedAt !== undefined) return refused('parent_not_good', holder);
  if (isSuperseded(parent, tx.now)) return refused('parent_superseded', holder);
  if (parent.publicKeySha256 !== publicKeySha256) return refused('key_differs', holder);
  // An expired certificate that was recovered already is superseded by the recovered one.
  if (newest !== undefined && isLive(newest, tx.now)) return refused('parent_superseded', holder);
  const before = yield* countRecoveries(tx, publicKeySha256);
  if (before >= limits.recoveries) return refused('recoveries_spent', holder);
  return { outcome: 'admitted', parent, before };
}

function* countRecoveries(tx: Transaction, key: string): Steps<number> {
  const sql = 'SELECT count(*) AS n FROM certificates WHERE public_key_sha256 = @key AND recovered = 1';
  return (yield* tx.get<{ n: number }>(sql, { key }))?.n ?? 0;
}

function refused(refusal: RecoveryRefusal, device: Identity | undefined): RecoveryDecision {
  return { outcome: 'refused', refusal, device };
}

function refusalEntry(device: Identity, parentSerial: string, refusal: RecoveryRefusal): NewAuditEntry {
  const subject = formatIdentity(device);
  const details = { refusal, parentSerial, severity: 'high' };
  return { actor: subject as Actor, action: 'certificate.recovered', subject, details };
}
