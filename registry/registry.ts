/**
 * The fleet's memory as the rest of the house sees it: devices, services, bootstrap tokens, certificates, revocations,
 * policies, audit. Async from the first day, so that another engine can stand behind it; `openRegistry()` gives the
 * SQLite one. Every change and its audit entry commit in one transaction.
 *
 * Times are milliseconds since the epoch. Certificate serials are lower-case hexadecimal without leading zeros.
 */

import type { DeviceId, GroupName, Identity, ServiceName } from '../contract/identity.ts';
import type { PolicyDocument, PolicyScope } from '../contract/policy.ts';
import type { CertificateRevocationMemory } from './certificate-revocation.ts';
import type { ExpiryMemory } from './expiry.ts';
import type { IssuerMemory } from './issuers.ts';
import type { GroupProfile, ProfileMemory } from './profiles.ts';
import type { PublishedStatusMemory } from './published-status.ts';
import type { RecoveryMemory } from './recovery.ts';
import type { RenewalWindowMemory } from './renewal-windows.ts';

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

export interface MintOrder {
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
  readonly mintedAt: number;
  readonly mintedBy: Actor;
  readonly expiresAt: number;
  readonly voidedAt: number | undefined;
  readonly state: 'usable' | 'spent' | 'expired' | 'void';
}

export interface MintedToken {
  readonly record: TokenRecord;
  /** 160 bits, base64url; exists nowhere else once this value is gone. */
  readonly secret: string;
}

/** What each state means for link, session, queue, will, certificate and re-enrollment: docs/standing.md. */
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
  readonly provenAt: number | undefined;
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
  | 'device_suspended' // nor does a token minted for it let it in: an operator has to resume it first
  | 'device_quarantined'
  | 'key_reused'; // the public key belongs or belonged to another certificate

export interface EnrollmentClaim {
  readonly tokenId: string;
  readonly secret: string;
  /** Undefined: the server chooses. */
  readonly deviceId: DeviceId | undefined;
  readonly publicKeySha256: string;
}

export type Admission =
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
  /** It was renewed from another and nobody has used it yet: `proveCertificate` is due. */
  readonly isUnproven?: true;
}

/** What a serial is worth now. Only `good` is without conditions; whoever doesn't know a state refuses. */
export type Standing =
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

export const DEVICE_ACTS = ['revoke', 'suspend', 'resume', 'quarantine', 'disconnect', 'delete'] as const;
export type DeviceAct = (typeof DEVICE_ACTS)[number];

export type DeviceOrder =
  | { readonly act: 'revoke'; readonly reason: RevocationReason }
  | { readonly act: Exclude<DeviceAct, 'revoke'> };

/** What was committed about one device; `set` is a change of group or labels. */
export interface DeviceChange {
  readonly device: DeviceId;
  readonly act: DeviceAct | 'set';
  readonly status: DeviceStatus | 'deleted';
  /** When it became so; for what was so already, the time of then. */
  readonly at: number;
}

/** What one broker says when it has done its part. */
export interface Confirmation {
  readonly sessionsClosed: number;
  /** When it last read a message of the device, of sessions that were live; undefined when there was none. */
  readonly lastMessageAt: number | undefined;
}

/** One device, acted upon: committed, told, and confirmed by every broker. */
export interface DeviceProof extends DeviceChange {
  /** The certificates that the act ended, and why they were. */
  readonly serials: readonly string[];
  readonly reason: RevocationReason | undefined;
  readonly sessionsClosed: number;
  readonly lastMessageAt: number | undefined;
  readonly brokersConfirmed: number;
  /** From the commit to the last broker's confirmation, milliseconds, with fractions. */
  readonly propagationMs: number;
}

/** Which devices are meant: those for which all that is given is true. */
export interface DeviceSelector {
  readonly ids?: readonly DeviceId[];
  readonly group?: GroupName;
  /** Each of them. */
  readonly labels?: Labels;
  /** Holders of a certificate, not revoked, whose line began with this bootstrap token. */
  readonly token?: string;
  /** The holder of this certificate. */
  readonly serial?: string;
  /** Those whose newest certificate, not revoked, was issued before this time. */
  readonly issuedBefore?: number;
}

export interface DeviceSelection {
  /** In id order. */
  readonly ids: readonly DeviceId[];
  /** Stands for exactly this order on exactly these devices. No secret: it protects from surprise, not from attack. */
  readonly confirmation: string;
}

/** Cumulative counts, as Prometheus has them. */
export interface Histogram {
  /** Upper bounds in seconds, ascending, the last infinite. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
  readonly sum: number;
  readonly count: number;
}

/** Brokers confirm; other listeners give nothing back. */
// biome-ignore lint/suspicious/noConfusingVoidType: they are functions without a result
export type Confirming = void | Confirmation | Promise<void | Confirmation>;

export interface AuditEntry {
  readonly id: number;
  readonly at: number;
  readonly actor: Actor;
  /** `token.minted`, `device.enrolled`, … : noun, dot, past participle. */
  readonly action: string;
  /** What it was done to: `device/dev-7`, `token/9f…`, `group/default`. */
  readonly subject: string;
  readonly outcome: 'done' | 'refused';
  readonly details: Readonly<Record<string, string | number>>;
  /** SHA-256 over the entry before it and this one, lower-case hexadecimal (`registry/audit-chain.ts`). */
  readonly hash: string;
}

/** As it is exported: it can be checked without its predecessor. */
export interface ChainedEntry extends AuditEntry {
  /** The hash of the entry before it; 64 zeros for the first. */
  readonly previous: string;
}

/** Something another room did that belongs into the audit. Never with a secret, a key or a payload. */
export interface Act {
  readonly actor: Actor;
  /** Noun, dot, past participle: `telemetry.pruned`, `issuer.activated`. */
  readonly action: string;
  /** A kind and a name: `issuer/3f…`, `telemetry/2030-01-01`. */
  readonly subject: string;
  readonly outcome: AuditEntry['outcome'];
  /** At most 32. */
  readonly details?: AuditEntry['details'];
}

export interface AuditFilter {
  /** Ids below this one: the page after it. */
  readonly before?: number;
  /** Of this subject only. */
  readonly subject?: string;
  /** 1 to 10,000. */
  readonly limit: number;
}

/** What `verifyAudit` found. Whoever can write the file can rewrite the whole chain: only a head kept elsewhere shows that. */
export interface AuditVerdict {
  readonly entries: number;
  /** The newest entry; keep it elsewhere. */
  readonly head: { readonly id: number; readonly hash: string };
  /** What is wrong first; undefined when the chain is whole. */
  readonly fault: string | undefined;
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
  extends IssuerMemory,
    PublishedStatusMemory,
    CertificateRevocationMemory,
    RenewalWindowMemory,
    RecoveryMemory,
    ProfileMemory,
    ExpiryMemory {
  mintToken(order: MintOrder, actor: Actor): Promise<MintedToken>;
  listTokens(): Promise<readonly TokenRecord[]>;
  /** Undefined when there is no such token; voiding twice is voiding once. */
  voidToken(id: string, actor: Actor): Promise<TokenRecord | undefined>;

  /** Looks whether a claim could succeed, before a signature is spent on it. Changes nothing but the audit of refusals. */
  admitEnrollment(claim: EnrollmentClaim): Promise<Admission>;
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
  proveCertificate(serial: string): Promise<boolean>;

  /** Records one of the server's own certificates before it is used. */
  recordServerCertificate(name: string, certificate: IssuedCertificate): Promise<void>;

  findDevice(id: DeviceId): Promise<DeviceRecord | undefined>;
  listDevices(filter: DeviceFilter): Promise<readonly DeviceRecord[]>;
  listCertificates(holder: Identity): Promise<readonly CertificateRecord[]>;
  /** Everything the certificate lines that began with a token hold, oldest first; also what is revoked or expired. */
  listLine(tokenId: string): Promise<readonly CertificateRecord[]>;
  /**
   * Whom an order would concern. Leaves out those it would change nothing about, unless they are named by their ids.
   * Problem `device_unknown` for an id without a device, `request_invalid` for a selector that says nothing.
   */
  selectDevices(selector: DeviceSelector, order: DeviceOrder): Promise<DeviceSelection>;
  /**
   * Does one thing to devices, in transactions of at most 100, waits until every listener has confirmed, then resolves
   * in id order. Unknown ids refuse the whole act with Problem `device_unknown`; suspending, resuming or quarantining a
   * revoked device with `device_revoked`. What is so already changes nothing and is told again.
   */
  actOnDevices(ids: readonly DeviceId[], order: DeviceOrder, actor: Actor): Promise<readonly DeviceProof[]>;
  /** `actOnDevices` with the order `revoke`, as the revocations that its listeners heard of. */
  revokeDevices(ids: readonly DeviceId[], reason: RevocationReason, actor: Actor): Promise<readonly Revocation[]>;
  /** Changes group or labels; a label that is null is taken away. Live sessions are held to it when this resolves. */
  setDevice(
    id: DeviceId,
    change: { readonly group?: GroupName; readonly labels?: Readonly<Record<string, string | null>> },
    actor: Actor,
  ): Promise<DeviceRecord>;
  /** How long acts that end or restrict a session took until every broker had confirmed them, in seconds. */
  propagation(): Histogram;

  /** Records a service with its certificate; Problem `service_exists` when the name is taken or overlaps another. */
  commitService(name: ServiceName, certificate: IssuedCertificate, actor: Actor): Promise<ServiceRecord>;
  listServices(): Promise<readonly ServiceRecord[]>;
  /** Problem `service_unknown` when there is none. */
  revokeService(name: ServiceName, reason: RevocationReason, actor: Actor): Promise<Revocation>;

  /** The question of every connection; one indexed read. */
  standing(serial: string): Promise<Standing>;
  /** For the CRL: revoked, and not expired for more than a week, so that a CRL after the expiry still names it. */
  listRevoked(): Promise<readonly RevokedEntry[]>;
  /** 1, 2, 3, … : monotonically increasing CRL numbers (RFC 5280, section 5.2.3), durable before they are returned. */
  nextCrlNumber(): Promise<number>;

  findPolicy(scope: PolicyScope): Promise<PolicyDocument | undefined>;
  setPolicy(scope: PolicyScope, policy: PolicyDocument, actor: Actor): Promise<void>;

  /** Newest first. */
  listAudit(filter: AuditFilter): Promise<readonly AuditEntry[]>;
  /** Oldest first, those after an id, at most 10,000. */
  exportAudit(page: { readonly after?: number; readonly limit: number }): Promise<readonly ChainedEntry[]>;
  /** Reads the whole chain; `kept` is a head that was noted elsewhere and has to be part of it. */
  verifyAudit(kept?: AuditVerdict['head']): Promise<AuditVerdict>;
  /**
   * Appends what another room did; what it is about to do goes through `actOutside()`. Resolves to the id of the entry, 0
   * for a refusal that isn't kept: those of one subject are kept 32 an hour. What this registry does itself it records
   * itself. Problem `internal` for what is not an act, `unavailable` when it cannot be written.
   */
  recordAct(act: Act): Promise<number>;

  /** Called after the commit of what is final; whoever revoked waits for it. Returns the way to unsubscribe. */
  onRevocation(listener: (revocation: Revocation) => Confirming): () => void;
  /** Called after the commit of every other change of a device; whoever made it waits. */
  onDeviceChange(listener: (change: DeviceChange) => Confirming): () => void;
  onPolicyChange(listener: (scope: PolicyScope) => void): () => void;

  close(): Promise<void>;
}
