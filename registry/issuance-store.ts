/** Enrollment and renewal: what is asked before a certificate is signed, and what is recorded before it is returned. */

import type { DeviceId, Identity } from '@rollcall/protocol';
import { recordServerCertificate } from './certificates.ts';
import type { RegistryDatabase } from './database.ts';
import type { TerminationReport } from './device-operation-types.ts';
import { admitEnrollment, commitEnrollment } from './enrollment.ts';
import type { GroupProfile } from './group-profiles.ts';
import type { Listeners } from './listeners.ts';
import type { CertificateRecord, DeviceRecord, IssuedCertificate, Revocation } from './registry.ts';
import { admitRenewal, commitRenewal } from './renewal.ts';
import { recordFirstUse } from './supersession.ts';

/** Why a token does not let someone in. Outsiders hear `token_rejected` for the first five alike. */
export type TokenRefusal = 'unknown_token' | 'wrong_secret' | 'expired' | 'spent' | 'void';

export type EnrollmentRefusal =
  | TokenRefusal
  | 'device_id_not_allowed' // the token names another device
  | 'device_exists' // the name is taken by a device or a service and the token is not minted for it
  | 'group_full'
  | 'device_suspended' // nor does a token created for it let it in: an operator has to resume it first
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
  /** The same token and the same key were here before: the certificate of that time, no use spent. */
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
  | 'parent_superseded' // another key followed it and has proven itself, or was given the time to
  | 'device_suspended'
  | 'device_quarantined'
  | 'key_reused';

export type RecoveryRefusal =
  | Exclude<RenewalRefusal, 'parent_expired' | 'key_reused'>
  | 'key_differs' // a new key is for certificates that count
  | 'grace_over'
  | 'recoveries_spent';

export type RenewalOutcome =
  | { readonly outcome: 'refused'; readonly refusal: RenewalRefusal }
  /** The same parent asked with the same new key before. */
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
      const { outcome, superseded } = commitEnrollment(database, enrollment);
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
