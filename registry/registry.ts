import type { DeviceId, GroupName, Identity, ServiceName } from '@rollcall/protocol';
import type { AuditStore } from './audit/audit-store.ts';
import type { ExpiryStore } from './certificates/expiry.ts';
import type { IssuanceStore } from './certificates/issuance-store.ts';
import type { IssuerStore } from './certificates/issuers.ts';
import type { CrlStore, PublishedStatusStore } from './certificates/published-status.ts';
import type { RecoveryStore } from './certificates/recovery.ts';
import type { RenewalWindowStore } from './certificates/renewal-windows.ts';
import type { CertificateRevocationStore } from './certificates/revoke-certificate.ts';
import type { DeviceOperations, TerminationResult } from './devices/device-operation-types.ts';
import type { DeviceStore } from './devices/device-store.ts';
import type { GroupProfileStore } from './devices/group-profiles.ts';
import type { DevicePresence, PresenceStore } from './devices/presence.ts';
import type { IdempotencyKeyStore } from './operators/idempotency-keys.ts';
import type { OperatorIdentityStore } from './operators/operator-identities.ts';
import type { OperatorKeyStore } from './operators/operator-keys.ts';
import type { PasswordStore } from './operators/operator-passwords.ts';
import type { OperatorSessionStore } from './operators/operator-sessions.ts';
import type { OperatorStore } from './operators/operators.ts';
import type { PasskeyStore } from './operators/passkeys.ts';
import type { SecondFactorStore } from './operators/second-factors.ts';
import type { SignInLinkStore } from './operators/sign-in-links.ts';
import type { PolicyStore } from './policies/policies.ts';
import type { PolicyVersionStore } from './policies/policy-versions.ts';
import type { ServiceStore } from './services.ts';
import type { TokenStore } from './tokens/tokens.ts';

/** The acting identity in audit entries: `operator/NAME` of an API key, `operator/unix`, `operator/key`, `token/9f…`, `device/dev-7`, `server/enroll`. */
export type Actor = `${'operator' | 'token' | 'device' | 'service' | 'server'}/${string}`;

/** Called with what is set, in the transaction of a change, which is not made when it throws. It may be called again. */
export type ChangeCheck<Value> = (current: Value) => void;

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
  /** Of the newest certificate that is not revoked. */
  readonly certificateEndsAt?: number;
  /** Absent for a device that never connected. */
  readonly presence?: DevicePresence;
}

export interface ServiceRecord {
  readonly name: ServiceName;
  readonly status: 'active' | 'revoked';
  readonly issuedAt: number;
  /** End of its certificate that ends last; undefined for a revoked service. */
  readonly expiresAt: number | undefined;
  readonly revokedAt: number | undefined;
}

/** An issued certificate. The authority records it before it returns it. */
export interface IssuedCertificate {
  readonly serial: string;
  /** The leaf, DER. */
  readonly der: Uint8Array;
  /** SHA-256 of the DER of the SubjectPublicKeyInfo, lower-case hexadecimal. */
  readonly publicKeySha256: string;
  readonly notBefore: number;
  readonly notAfter: number;
  /** Id of the CA that signed it (`registry/certificates/issuers.ts`). */
  readonly issuerId?: string | undefined;
}

export interface CertificateRecord extends IssuedCertificate {
  readonly holder: Identity | { readonly kind: 'server'; readonly name: string };
  readonly issuedAt: number;
  /** The certificate that authenticated its renewal. */
  readonly parentSerial: string | undefined;
  /** The bootstrap token that it goes back to, through all renewals. */
  readonly tokenId: string | undefined;
  /** The operator that created that token, or issued the service's certificate. */
  readonly operator: Actor | undefined;
  /** Address of the client that asked for it; undefined for the server's own. */
  readonly address: string | undefined;
  /** First use of a renewed certificate; undefined before that. */
  readonly firstUsedAt: number | undefined;
  /** When another certificate supersedes it; may be in the future. */
  readonly supersededAt: number | undefined;
  /** Issued for a key whose certificate had expired. */
  readonly isRecovered: boolean;
  readonly revokedAt: number | undefined;
  readonly revocationReason: RevocationReason | undefined;
}

interface GoodCertificate {
  readonly holder: Identity;
  readonly group: GroupName;
  readonly labels: Labels;
  readonly notAfter: number;
  /** It was renewed from another and was not used yet: its first use calls `recordFirstUse`. */
  readonly isUnused?: true;
}

/** Status of a certificate now. Only `good` is unconditional; a caller that does not know a state refuses. */
export type CertificateStatus =
  | ({ readonly state: 'good' } & GoodCertificate)
  /** The certificate is good, but its device has only the rights of the policy quarantine/*. */
  | ({ readonly state: 'quarantined' } & GoodCertificate)
  | { readonly state: 'suspended'; readonly holder: Identity }
  /** The certificate that was renewed from it has been used. */
  | { readonly state: 'superseded'; readonly holder: Identity; readonly supersededAt: number }
  | {
      readonly state: 'revoked';
      readonly holder: Identity;
      readonly revokedAt: number;
      /** `superseded`: the device enrolled again. */
      readonly reason: RevocationReason;
    }
  | { readonly state: 'unknown' };

export interface RevokedEntry {
  readonly serial: string;
  readonly revokedAt: number;
  readonly reason: RevocationReason;
}

/** One committed revocation of every certificate of an identity. */
export interface Revocation {
  readonly holder: Identity;
  readonly serials: readonly string[];
  readonly reason: RevocationReason;
  readonly revokedAt: number;
}

export interface Registry
  extends TokenStore,
    IssuanceStore,
    RecoveryStore,
    DeviceStore,
    PresenceStore,
    DeviceOperations,
    ServiceStore,
    CertificateRevocationStore,
    PublishedStatusStore,
    CrlStore,
    RenewalWindowStore,
    ExpiryStore,
    IssuerStore,
    GroupProfileStore,
    PolicyStore,
    PolicyVersionStore,
    OperatorStore,
    OperatorKeyStore,
    OperatorIdentityStore,
    IdempotencyKeyStore,
    OperatorSessionStore,
    PasswordStore,
    SecondFactorStore,
    PasskeyStore,
    SignInLinkStore,
    AuditStore {
  /** Asked for every connection: one indexed read. */
  certificateStatus(serial: string): Promise<CertificateStatus>;
  /** Called after the commit of a revocation of everything a holder had; the operation waits. Returns the unsubscriber. */
  onRevocation(listener: (revocation: Revocation) => TerminationResult): () => void;
  close(): Promise<void>;
}
