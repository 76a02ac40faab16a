import { type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import { auditTime, type NewAuditEntry, recordDone, recordRefused, recordRefusedAlone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import { belongsToService } from '../devices/client-id-ownership.ts';
import type { TerminationReport } from '../devices/device-operation-types.ts';
import { findDevice, writeDevice } from '../devices/devices.ts';
import { findProfile, type GroupProfile, isGroupFull } from '../devices/group-profiles.ts';
import type { Listeners } from '../listeners.ts';
import type { CertificateRecord, DeviceRecord, Revocation } from '../registry.ts';
import { consumeToken, findPresentedToken } from '../tokens/consume-token.ts';
import type { TokenRecord } from '../tokens/tokens.ts';
import { DecidedMeanwhile, type Steps, type Transaction } from '../transaction.ts';
import { findCertificateByKey, insertCertificate, isLive } from './certificates.ts';
import type {
  Enrollment,
  EnrollmentAdmission,
  EnrollmentClaim,
  EnrollmentOutcome,
  EnrollmentRefusal,
} from './issuance-store.ts';
import { supersedeCertificates } from './revoke-holder.ts';

/** How long after the token's expiry a lost response can be requested again, even when the token is consumed. */
const REPLAY_AFTER_EXPIRY_MS = 24 * 3_600_000;

type Replay = Extract<EnrollmentAdmission, { readonly outcome: 'replayed' }>;
type Refused = Extract<EnrollmentAdmission, { readonly outcome: 'refused' }>;
type EnrollmentDecision =
  | Refused
  | Replay
  | {
      readonly outcome: 'admitted';
      readonly deviceId: DeviceId | undefined;
      readonly token: TokenRecord;
      readonly profile: GroupProfile | undefined;
    };

export interface CommittedEnrollment {
  readonly outcome: EnrollmentOutcome;
  /** The earlier certificates of a device that enrolled again. */
  readonly superseded: Revocation | undefined;
}

export async function admitEnrollment(
  database: RegistryDatabase,
  claim: EnrollmentClaim,
): Promise<EnrollmentAdmission> {
  const decision = requireSameName(await database.read((tx) => decide(tx, claim)), claim.deviceId);
  if (decision.outcome === 'admitted') {
    return { outcome: 'admitted', deviceId: decision.deviceId, profile: decision.profile };
  }
  const entry = decision.outcome === 'refused' ? refusalEntry(claim, decision.refusal) : undefined;
  if (entry !== undefined) await recordRefusedAlone(database, entry);
  return decision;
}

export async function commitEnrollment(
  database: RegistryDatabase,
  enrollment: Enrollment,
  revocations: Listeners<Revocation, TerminationReport>,
): Promise<CommittedEnrollment> {
  const { deviceId, certificate, tokenId, address } = enrollment;
  if (certificate.publicKeySha256 !== enrollment.publicKeySha256) {
    throw new Problem('internal', { reason: 'expected a certificate for the key of the claim, found another key' });
  }
  return database.write(function* (tx) {
    // A service that gets a name meanwhile could own this id; another token or operation could change this device.
    yield* tx.lock('names', [], 'shared');
    yield* tx.lock('holder', [`device/${deviceId}`]);
    const decision = yield* decide(tx, enrollment);
    if (decision.outcome === 'replayed') return { outcome: decision, superseded: undefined };
    if (decision.outcome === 'refused') return refuse(tx, enrollment, decision.refusal);
    const actor = `token/${tokenId}` as const;
    const superseded = yield* supersedeCertificates(tx, deviceId, actor);
    if (superseded !== undefined) revocations.publish(tx, superseded);
    const { group, labels } = decision.token;
    const device = yield* writeDevice(tx, { id: deviceId, group, labels, enrolledBy: actor });
    const record = yield* insertCertificate(tx, { kind: 'device', id: deviceId }, certificate, {
      tokenId,
      operator: decision.token.createdBy,
      address,
    });
    // As the last statement: others that enroll with this token wait from here to the commit.
    if (!(yield* consumeToken(tx, tokenId))) throw new DecidedMeanwhile('the token has no use left');
    recordDone(tx, {
      actor,
      action: 'device.enrolled',
      subject: `device/${deviceId}`,
      details: { serial: certificate.serial, notAfter: auditTime(certificate.notAfter), group, address },
    });
    return {
      outcome: {
        outcome: 'enrolled',
        device: { ...device, certificateEndsAt: record.notAfter },
        certificate: record,
      },
      superseded,
    };
  });
}

/**
 * The same key with another device id is not a repeated request. Only for admission: when a commit finds its
 * token and key recorded, a concurrent request with the same claim was faster, and the server may have chosen another id.
 */
function requireSameName(decision: EnrollmentDecision, asked: DeviceId | undefined): EnrollmentDecision {
  const renamed = decision.outcome === 'replayed' && asked !== undefined && decision.device.id !== asked;
  return renamed ? refused('key_reused') : decision;
}

/** Checks in this order: the token and its secret, a repeated request, the token's state, the device id, the key. */
function* decide(tx: Transaction, claim: EnrollmentClaim): Steps<EnrollmentDecision> {
  const presented = yield* findPresentedToken(tx, claim.tokenId, claim.secret);
  if (presented === undefined) return refused('unknown_token');
  if (!presented.isSecretRight) return refused('wrong_secret');
  const { token } = presented;
  if (token.state === 'void') return refused('void');

  const certificate = yield* findCertificateByKey(tx, claim.publicKeySha256);
  const replay = certificate && (yield* findReplay(tx, certificate, token));
  if (replay !== undefined) return replay;
  if (token.state !== 'usable') return refused(token.state);

  const deviceId = claim.deviceId ?? token.device;
  if (token.device !== undefined && deviceId !== token.device) return refused('device_id_not_allowed');
  const device = deviceId === undefined ? undefined : yield* findDevice(tx, deviceId);
  // An existing device id can be enrolled again only with a token that names it. Revoking a device revokes such tokens,
  // so a usable one for a revoked device was created after the revocation.
  if (device !== undefined && token.device !== device.id) return refused('device_exists');
  if (deviceId !== undefined && (yield* belongsToService(tx, deviceId))) return refused('device_exists');
  const restricted = restrictionOf(device);
  if (restricted !== undefined) return refused(restricted);
  if (certificate !== undefined) return refused('key_reused');
  if (isNewIn(token.group, device) && (yield* isGroupFull(tx, token.group))) return refused('group_full');
  return { outcome: 'admitted', deviceId, token, profile: yield* findProfile(tx, token.group) };
}

/** The same token and key enrolled before, and that certificate is still good. */
function* findReplay(
  tx: Transaction,
  certificate: CertificateRecord,
  token: TokenRecord,
): Steps<Replay | Refused | undefined> {
  if (tx.now >= token.expiresAt + REPLAY_AFTER_EXPIRY_MS) return undefined;
  // A renewed certificate inherits the token id, but was not issued for this token's request.
  if (certificate.tokenId !== token.id || certificate.parentSerial !== undefined) return undefined;
  if (certificate.holder.kind !== 'device' || !isLive(certificate, tx.now)) return undefined;
  const device = yield* findDevice(tx, certificate.holder.id);
  const restricted = restrictionOf(device);
  if (restricted !== undefined) return refused(restricted);
  return device && { outcome: 'replayed', device, certificate };
}

/** Whether the enrollment adds a device to the group. */
function isNewIn(group: GroupName, device: DeviceRecord | undefined): boolean {
  return device === undefined || device.status === 'revoked' || device.group !== group;
}

/** A suspended or quarantined device has to be resumed before any token can enroll it again. */
function restrictionOf(device: DeviceRecord | undefined): 'device_suspended' | 'device_quarantined' | undefined {
  const status = device?.status;
  return status === 'suspended' || status === 'quarantined' ? `device_${status}` : undefined;
}

/** Undefined for an unknown token: a client that invents token ids must not be able to fill the audit. */
function refusalEntry(claim: EnrollmentClaim, refusal: EnrollmentRefusal): NewAuditEntry | undefined {
  if (refusal === 'unknown_token') return undefined;
  return {
    actor: `token/${claim.tokenId}`,
    action: 'device.enrolled',
    subject: `token/${claim.tokenId}`,
    details: { refusal, ...(claim.deviceId === undefined ? {} : { device: claim.deviceId }) },
  };
}

function refuse(tx: Transaction, claim: EnrollmentClaim, refusal: EnrollmentRefusal): CommittedEnrollment {
  const entry = refusalEntry(claim, refusal);
  if (entry !== undefined) recordRefused(tx, entry);
  return { outcome: refused(refusal), superseded: undefined };
}

function refused(refusal: EnrollmentRefusal): Refused {
  return { outcome: 'refused', refusal };
}
