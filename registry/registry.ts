import type { DeviceId, GroupName, Identity, PolicyDocument, PolicyScope, ServiceName } from '@rollcall/protocol';
import type { AuditStore } from './audit-store.ts';
import type { DeviceOperations, TerminationResult } from './device-operation-types.ts';
import type { ExpiryStore } from './expiry.ts';
import type { GroupProfile, GroupProfileStore } from './group-profiles.ts';
import type { IssuerStore } from './issuers.ts';
import type { PublishedStatusStore } from './published-status.ts';
import type { RecoveryStore } from './recovery.ts';
import type { RenewalWindowStore } from './renewal-windows.ts';
import type { CertificateRevocationStore } from './revoke-certificate.ts';

/** Who did it, in audit entries: `operator/local`, `token/9f…`, `device/dev-7`, `server/enroll`. */
export type Actor = `${'operator' | 'token' | 'device' | 'service' | 'server'}/${string}`;

export type Labels = Readonly<Record<string, string>>;

/** RFC 5280, section 5.3.1; the subset that makes sense for an end entity. */
export const REVOCATION_REASONS = [
  'unspecified',
  'keyCompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'privilegeWithdrawn',
] as const;
export type RevocationReason = (typeof REVOCATION_REASONS)[number];

export interface TokenRequest {
  /** How many devices may enroll with it, 1 to 1,000,000. */
  readonly maxUses: number;
  /** Life in seconds, 1 to 30 days. */
  readonly ttlSeconds: number;
  readonly group: GroupName;
  readonly labels: Labels;
  /** The only device that may use it; then `maxUses` is 1. It may also re-enroll a device that exists or was revoked. */
  readonly device?: DeviceId;
}

export interface TokenRecord {
  readonly id: string;
  readonly maxUses: number;
  readonly uses: number;
  readonly group: GroupName;
  readonly labels: Labels;
  readonly device: DeviceId | undefined;
  readonly createdAt: number;
  readonly createdBy: Actor;
  readonly expiresAt: number;
  readonly revokedAt: number | undefined;
  readonly state: 'usable' | 'spent' | 'expired' | 'void';
}

export interface CreatedToken {
  readonly record: TokenRecord;
  /** 160 bits, base64url; exists nowhere else once this value is gone. */
  readonly secret: string;
}

/** What each state means for link, session, queue, will, certificate and re-enrollment: docs/device-status.md. */
export const DEVICE_STATUSES = ['active', 'suspended', 'quarantined', 'revoked'] as const;
export type DeviceStatus = (typeof DEVICE_STATUSES)[number];

export interface DeviceRecord {
  readonly id: DeviceId;
  readonly group: GroupName;
  readonly labels: Labels;
  readonly status: DeviceStatus;
  /** Since when it is suspended or quarantined. */
  readonly restrictedAt: number | undefined;
  readonly enrolledAt: number;
  readonly enrolledBy: Actor;
  readonly revokedAt: number | undefined;
  readonly revocationReason: RevocationReason | undefined;
}

export interface ServiceRecord {
  readonly name: ServiceName;
  readonly status: 'active' | 'revoked';
  readonly issuedAt: number;
  readonly revokedAt: number | undefined;
}

/** A certificate as it was issued; what the authority hands over to be recorded before anyone else sees it. */
export interface IssuedCertificate {
  readonly serial: string;
  /** The leaf, DER. */
  readonly der: Uint8Array;
  /** SHA-256 of the DER of the SubjectPublicKeyInfo, lower-case hexadecimal. */
  readonly publicKeySha256: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** The CA that signed it, as `registry/issuers.ts` knows it. */
  readonly issuerId?: string | undefined;
}

export interface CertificateRecord extends IssuedCertificate {
  readonly holder: Identity | { readonly kind: 'server'; readonly name: string };
  readonly issuedAt: number;
  /** The certificate that vouched for this one, when it was renewed. */
  readonly parentSerial: string | undefined;
  /** The bootstrap token at the beginning of its line, through all renewals. */
  readonly tokenId: string | undefined;
  /** Who let the line begin: whoever minted the token, or issued the service. */
  readonly operator: Actor | undefined;
  /** Address of the client that asked for it; undefined for the server's own. */
  readonly address: string | undefined;
  /** When it was first used, of one that was renewed; undefined before that. */
  readonly firstUsedAt: number | undefined;
  /** Since when another has its place, or from when it will have. */
  readonly supersededAt: number | undefined;
  /** Given for a key whose certificate had ended. */
  readonly isRecovered: boolean;
  readonly revokedAt: number | undefined;
  readonly revocationReason: RevocationReason | undefined;
}

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

interface GoodCertificate {
  readonly holder: Identity;
  readonly group: GroupName;
  readonly labels: Labels;
  readonly notAfter: number;
  /** It was renewed from another and nobody has used it yet: `recordFirstUse` is due. */
  readonly isUnused?: true;
}

/** What a serial is worth now. Only `good` is without conditions; whoever doesn't know a state refuses. */
export type CertificateStatus =
  | ({ readonly state: 'good' } & GoodCertificate)
  /** The certificate is good, but its device may do only what the policy of quarantine allows. */
  | ({ readonly state: 'quarantined' } & GoodCertificate)
  | { readonly state: 'suspended'; readonly holder: Identity }
  /** The one that was renewed from it has its place. */
  | { readonly state: 'superseded'; readonly holder: Identity; readonly supersededAt: number }
  | {
      readonly state: 'revoked';
      readonly holder: Identity;
      readonly revokedAt: number;
      /** `superseded`: the device enrolled again, and nobody did anything wrong. */
      readonly reason: RevocationReason;
    }
  | { readonly state: 'unknown' };

export interface RevokedEntry {
  readonly serial: string;
  readonly revokedAt: number;
  readonly reason: RevocationReason;
}

/** One committed revocation of everything that an identity held. */
export interface Revocation {
  readonly holder: Identity;
  readonly serials: readonly string[];
  readonly reason: RevocationReason;
  readonly revokedAt: number;
}

export interface DeviceFilter {
  readonly group?: GroupName;
  readonly status?: DeviceRecord['status'];
  /** Ids greater than this one, in id order: the page after it. */
  readonly after?: string;
  /** 1 to 10,000. */
  readonly limit: number;
}

export interface Registry
  extends AuditStore,
    DeviceOperations,
    IssuerStore,
    PublishedStatusStore,
    CertificateRevocationStore,
    RenewalWindowStore,
    RecoveryStore,
    GroupProfileStore,
    ExpiryStore {
  createToken(order: TokenRequest, actor: Actor): Promise<CreatedToken>;
  listTokens(): Promise<readonly TokenRecord[]>;
  /** Undefined when there is no such token; voiding twice is voiding once. */
  revokeToken(id: string, actor: Actor): Promise<TokenRecord | undefined>;

  /** Looks whether a claim could succeed, before a signature is spent on it. Changes nothing but the audit of refusals. */
  admitEnrollment(claim: EnrollmentClaim): Promise<EnrollmentAdmission>;
  /** Spends the token, records device, certificate and audit entry: all or nothing. Decides races by itself. */
  commitEnrollment(enrollment: Enrollment): Promise<EnrollmentOutcome>;
  /** Finds what a repeated renewal (same parent, same new key) was answered, before a signature is spent on it. */
  admitRenewal(
    parentSerial: string,
    publicKeySha256: string,
  ): Promise<
    | { readonly outcome: 'refused'; readonly refusal: RenewalRefusal }
    | { readonly outcome: 'replayed'; readonly certificate: CertificateRecord }
    | { readonly outcome: 'admitted'; readonly holder: Identity; readonly profile?: GroupProfile | undefined }
  >;
  commitRenewal(renewal: Renewal): Promise<RenewalOutcome>;
  /**
   * A renewed certificate was used at the broker: it supersedes all others of its device. Resolves to whether that was
   * news; a certificate that is proven, superseded or revoked already, or is a service's, changes nothing.
   */
  recordFirstUse(serial: string): Promise<boolean>;

  /** Records one of the server's own certificates before it is used. */
  recordServerCertificate(name: string, certificate: IssuedCertificate): Promise<void>;

  findDevice(id: DeviceId): Promise<DeviceRecord | undefined>;
  listDevices(filter: DeviceFilter): Promise<readonly DeviceRecord[]>;
  /** Oldest first: all of them, or the newest so many. */
  listCertificates(holder: Identity, newest?: number): Promise<readonly CertificateRecord[]>;
  /** Everything the certificate lines that began with a token hold, oldest first; also what is revoked or expired. */
  listIssuedFrom(tokenId: string): Promise<readonly CertificateRecord[]>;
  /** Changes group or labels; a label that is null is taken away. Live sessions are held to it when this resolves. */
  setDevice(
    id: DeviceId,
    change: { readonly group?: GroupName; readonly labels?: Readonly<Record<string, string | null>> },
    actor: Actor,
  ): Promise<DeviceRecord>;
  /** Records a service with its certificate; Problem `service_exists` when the name is taken or overlaps another. */
  commitService(name: ServiceName, certificate: IssuedCertificate, actor: Actor): Promise<ServiceRecord>;
  listServices(): Promise<readonly ServiceRecord[]>;
  /** Problem `service_unknown` when there is none. */
  revokeService(name: ServiceName, reason: RevocationReason, actor: Actor): Promise<Revocation>;

  /** The question of every connection; one indexed read. */
  certificateStatus(serial: string): Promise<CertificateStatus>;
  /** For the CRL: revoked, and not expired for more than a week, so that a CRL after the expiry still names it. */
  listRevoked(): Promise<readonly RevokedEntry[]>;
  /** 1, 2, 3, … : monotonically increasing CRL numbers (RFC 5280, section 5.2.3), durable before they are returned. */
  nextCrlNumber(): Promise<number>;

  findPolicy(scope: PolicyScope): Promise<PolicyDocument | undefined>;
  setPolicy(scope: PolicyScope, policy: PolicyDocument, actor: Actor): Promise<void>;

  /** Called after the commit of what is final; whoever revoked waits for it. Returns the way to unsubscribe. */
  onRevocation(listener: (revocation: Revocation) => TerminationResult): () => void;
  onPolicyChange(listener: (scope: PolicyScope) => void): () => void;

  close(): Promise<void>;
}
