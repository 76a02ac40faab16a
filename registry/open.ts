/** Opens the SQLite engine of the registry: one store per subject, each method one transaction. */

import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { OperationListeners } from './apply-device-operations.ts';
import { auditHead, createAuditStore } from './audit.ts';
import { findCertificateStatus } from './certificate-status.ts';
import { openDatabase } from './database.ts';
import { createDeviceStore } from './device-store.ts';
import { createExpiryStore } from './expiry.ts';
import { createGroupProfileStore } from './group-profiles.ts';
import { createIdempotencyKeyStore } from './idempotency-keys.ts';
import { createIssuanceStore } from './issuance-store.ts';
import { createIssuerStore } from './issuers.ts';
import { Listeners } from './listeners.ts';
import { createOperatorIdentityStore } from './operator-identities.ts';
import { createOperatorKeyStore } from './operator-keys.ts';
import { createPasswordStore } from './operator-passwords.ts';
import { createOperatorSessionStore } from './operator-sessions.ts';
import { createOperatorStore, type OperatorAccessEnded } from './operators.ts';
import { createPasskeyStore } from './passkeys.ts';
import { createPolicyStore } from './policies.ts';
import { createPolicyVersionStore } from './policy-versions.ts';
import { createPresenceStore } from './presence.ts';
import { createPublishedStatusStore } from './published-status.ts';
import { createRecoveryStore, DEFAULT_RECOVERY, type RecoveryLimits } from './recovery.ts';
import type { Registry } from './registry.ts';
import { createRenewalWindowStore } from './renewal-windows.ts';
import { createCertificateRevocationStore } from './revoke-certificate.ts';
import { createSecondFactorStore } from './second-factors.ts';
import { createServiceStore } from './services.ts';
import { createSignInLinkStore } from './sign-in-links.ts';
import { DEFAULT_OVERLAP_MS } from './supersession.ts';
import { createTokenStore } from './tokens.ts';

export interface RegistryOptions {
  /** Path of the database; created with mode 0600 when it does not exist. Its directory must exist. */
  readonly file: string;
  /** `inspectRegistry()` has read every page of the file. */
  readonly isInspected?: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** How long a certificate stays valid beside its unused successor, milliseconds; 7 days. */
  readonly overlapMs?: number;
  /** Limits for recovering expired certificates; `DEFAULT_RECOVERY`. */
  readonly recovery?: RecoveryLimits;
  /** Seconds from the commit of an operation that ends or restricts sessions until every broker confirmed it. */
  readonly observeTermination?: (seconds: number) => void;
  /** Source of token ids and secrets; that of `node:crypto` unless a test replaces it. */
  readonly randomBytes?: (size: number) => Buffer;
}

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export async function openRegistry(options: RegistryOptions): Promise<Registry> {
  const { log, observeTermination = () => {} } = options;
  const database = openDatabase(options);
  const listeners: OperationListeners = {
    revocations: new Listeners('revocation', log),
    changes: new Listeners('device change', log),
    observeTermination,
  };
  const { revocations } = listeners;
  const accessEnded = new Listeners<OperatorAccessEnded>('operator access', log);
  const random = options.randomBytes ?? randomBytes;
  // Logs usually leave the machine: an attacker who rewrites the database cannot change this copy of the audit head.
  log.info({ audit: auditHead(database) }, 'audit opened');

  return {
    ...createTokenStore(database, random),
    ...createIssuanceStore(database, revocations, options.overlapMs ?? DEFAULT_OVERLAP_MS),
    ...createRecoveryStore(database, options.recovery ?? DEFAULT_RECOVERY),
    ...createDeviceStore(database, listeners),
    ...createPresenceStore(database),
    ...createServiceStore(database, revocations),
    ...createCertificateRevocationStore(database, log, observeTermination),
    ...createPublishedStatusStore(database),
    ...createRenewalWindowStore(database),
    ...createExpiryStore(database),
    ...createIssuerStore(database),
    ...createGroupProfileStore(database),
    ...createPolicyStore(database, log),
    ...createPolicyVersionStore(database),
    ...createOperatorStore(database, accessEnded),
    ...createOperatorIdentityStore(database),
    ...createOperatorKeyStore(database, accessEnded, random),
    ...createIdempotencyKeyStore(database),
    ...createOperatorSessionStore(database, accessEnded, random),
    ...createPasswordStore(database, accessEnded),
    ...createSecondFactorStore(database),
    ...createPasskeyStore(database),
    ...createSignInLinkStore(database, accessEnded, random),
    ...createAuditStore(database),
    certificateStatus: async (serial) => findCertificateStatus(database, serial),
    onRevocation: (listener) => revocations.add(listener),
    close: async () => database.close(),
  };
}
