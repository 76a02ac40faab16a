/** Enrollment and renewal: what is asked before a certificate is signed, and what is recorded before it is returned. */

import type { DeviceId, Identity } from '@rollcall/protocol';
import type { RegistryDatabase } from '../database.ts';
import type { TerminationReport } from '../devices/device-operation-types.ts';
import type { GroupProfile } from '../devices/group-profiles.ts';
import type { Listeners } from '../listeners.ts';
import type { CertificateRecord, DeviceRecord, IssuedCertificate, Revocation } from '../registry.ts';
import { recordServerCertificate } from './certificates.ts';
import { admitEnrollment, commitEnrollment } from './enrollment.ts';
import { admitRenewal, commitRenewal } from './renewal.ts';
import { recordFirstUse } from './supersession.ts';

/** Why a token is refused. Clients get `token_rejected` for all five. */
export type TokenRefusal = 'unknown_token' | 'wrong_secret' | 'expired' | 'spent' | 'void';

export type EnrollmentRefusal =
  | TokenRefusal
  | 'device_id_not_allowed' // the token names another device
  | 'device_exists' // the id belongs to a device or a service, and the token does not name it
  | 'group_full'
  | 'device_suspended' // also for a token that names it: an operator has to resume it first
  | 'device_quarantined'
  | 'key_reused'; // the public key belongs or belonged to another certificate

export interface EnrollmentClaim {
  readonly tokenId: string;
  readonly secret: string;
  /** Undefined: the server chooses. */
  readonly deviceId: DeviceId | undefined;
  readonly publicKeySha256: string;
}

export type EnrollmentAdmission =
  | { readonly outcome: 'refused'; readonly refusal: EnrollmentRefusal }
  /** The same token and key enrolled before: returns that certificate and consumes no use. */
  | { readonly outcome: 'replayed'; readonly device: DeviceRecord; readonly certificate: CertificateRecord }
  /** May enroll as this device; undefined when the server still has to choose. Nothing is reserved. */
  | {
      readonly outcome: 'admitted';
      readonly deviceId: DeviceId | undefined;
      /** Of the group that the token is for. */
      readonly profile?: GroupProfile | undefined;
    };

export interface Enrollment extends EnrollmentClaim {
  readonly deviceId: DeviceId;
  readonly certificate: IssuedCertificate;
  readonly address: string;
}

export type EnrollmentOutcome =
  | { readonly outcome: 'refused'; readonly refusal: EnrollmentRefusal }
  | { readonly outcome: 'replayed'; readonly device: DeviceRecord; readonly certificate: CertificateRecord }
  | { readonly outcome: 'enrolled'; readonly device: DeviceRecord; readonly certificate: CertificateRecord };

export interface Renewal {
  readonly parentSerial: string;
  readonly certificate: IssuedCertificate;
  readonly address: string;
}

export type RenewalRefusal =
  | 'parent_not_good'
  | 'parent_expired'
  | 'parent_superseded' // a certificate for another key was used, or its overlap is over
  | 'device_suspended'
  | 'device_quarantined'
  | 'key_reused';

export type RecoveryRefusal =
  | Exclude<RenewalRefusal, 'parent_expired' | 'key_reused'>
  | 'key_differs' // only a valid certificate can be renewed with a new key
  | 'grace_over'
  | 'recoveries_spent';

export type RenewalOutcome =
  | { readonly outcome: 'refused'; readonly refusal: RenewalRefusal }
  /** The same parent was renewed with the same new key before. */
  | { readonly outcome: 'replayed'; readonly certificate: CertificateRecord }
  | { readonly outcome: 'renewed'; readonly certificate: CertificateRecord };

export type RenewalAdmission =
  | { readonly outcome: 'refused'; readonly refusal: RenewalRefusal }
  | { readonly outcome: 'replayed'; readonly certificate: CertificateRecord }
  | { readonly outcome: 'admitted'; readonly holder: Identity; readonly profile?: GroupProfile | undefined };

export interface IssuanceStore {
  /** Checks whether a claim could succeed, before a certificate is signed for it. Writes nothing but audited refusals. */
  admitEnrollment(claim: EnrollmentClaim): Promise<EnrollmentAdmission>;
  /** Consumes the token and records device, certificate and audit entry in one transaction, which decides every race. */
  commitEnrollment(enrollment: Enrollment): Promise<EnrollmentOutcome>;
  /** Checks whether a renewal could succeed; a repeated one (same parent, same new key) gets its earlier certificate. */
  admitRenewal(parentSerial: string, publicKeySha256: string): Promise<RenewalAdmission>;
  commitRenewal(renewal: Renewal): Promise<RenewalOutcome>;
  /**
   * A renewed certificate was used at the broker: it supersedes all others of its device. Resolves to whether this changed
   * anything. Nothing changes for a certificate that was used, superseded or revoked before, or is a service's.
   */
  recordFirstUse(serial: string): Promise<boolean>;
  /** Records one of the server's own certificates before it is used. */
  recordServerCertificate(name: string, certificate: IssuedCertificate): Promise<void>;
}

export function createIssuanceStore(
  database: RegistryDatabase,
  revocations: Listeners<Revocation, TerminationReport>,
  overlapMs: number,
): IssuanceStore {
  return {
    admitEnrollment: async (claim) => admitEnrollment(database, claim),
    commitEnrollment: async (enrollment) => {
      const { outcome, superseded } = await commitEnrollment(database, enrollment, revocations);
      // The device is enrolled even when a listener fails to end the sessions of its old certificates; that is logged.
      if (superseded !== undefined) await revocations.notify([superseded]).catch(() => undefined);
      return outcome;
    },
    admitRenewal: async (parentSerial, publicKeySha256) => admitRenewal(database, parentSerial, publicKeySha256),
    commitRenewal: async (renewal) => commitRenewal(database, renewal, overlapMs),
    recordFirstUse: async (serial) => recordFirstUse(database, serial),
    recordServerCertificate: async (name, certificate) => recordServerCertificate(database, name, certificate),
  };
}
