/** Opens a registry on SQLite or PostgreSQL: one store per subject, each method one transaction. */

import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { migrate, type PostgresDatabase } from '../storage/postgres/index.ts';
import { auditHead, createAuditStore } from './audit/audit.ts';
import { findCertificateStatus } from './certificates/certificate-status.ts';
import { createExpiryStore } from './certificates/expiry.ts';
import { createIssuanceStore } from './certificates/issuance-store.ts';
import { createIssuerStore } from './certificates/issuers.ts';
import { createPublishedStatusStore } from './certificates/published-status.ts';
import { createRecoveryStore, DEFAULT_RECOVERY, type RecoveryLimits } from './certificates/recovery.ts';
import { createRenewalWindowStore } from './certificates/renewal-windows.ts';
import { createCertificateRevocationStore } from './certificates/revoke-certificate.ts';
import { DEFAULT_OVERLAP_MS } from './certificates/supersession.ts';
import type { RegistryDatabase } from './database.ts';
import type { OperationListeners } from './devices/apply-device-operations.ts';
import { createDeviceStore } from './devices/device-store.ts';
import { createGroupProfileStore } from './devices/group-profiles.ts';
import { createPresenceStore } from './devices/presence.ts';
import { Listeners } from './listeners.ts';
import { createIdempotencyKeyStore } from './operators/idempotency-keys.ts';
import { createOperatorIdentityStore } from './operators/operator-identities.ts';
import { createOperatorKeyStore } from './operators/operator-keys.ts';
import { createPasswordStore } from './operators/operator-passwords.ts';
import { createOperatorSessionStore } from './operators/operator-sessions.ts';
import { createOperatorStore, type OperatorAccessEnded } from './operators/operators.ts';
import { createPasskeyStore } from './operators/passkeys.ts';
import { createSecondFactorStore } from './operators/second-factors.ts';
import { createSignInLinkStore } from './operators/sign-in-links.ts';
import { createPolicyStore } from './policies/policies.ts';
import { createPolicyVersionStore } from './policies/policy-versions.ts';
import { PostgresRegistryDatabase } from './postgres/postgres-registry-database.ts';
import { registryTables } from './postgres/tables.ts';
import type { Registry } from './registry.ts';
import { createServiceStore } from './services.ts';
import { openDatabase } from './sqlite/sqlite-database.ts';
import { createTokenStore } from './tokens/tokens.ts';

export interface RegistryOptions extends RegistryRules {
  /** Path of the database; created with mode 0600 when it does not exist. Its directory must exist. */
  readonly file: string;
  /** `inspectRegistry()` has read every page of the file. */
  readonly isInspected?: boolean;
}

/** What does not depend on the engine. */
export interface RegistryRules {
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
  return registryOn(openDatabase(options), options);
}

/**
 * Brings the tables to this version, and has the registry close the database. Throws Problem `database_newer`, and what the database
 * throws.
 */
export async function openPostgresRegistry(database: PostgresDatabase, rules: RegistryRules): Promise<Registry> {
  await migrate(database, registryTables());
  return registryOn(new PostgresRegistryDatabase(database, rules.now), rules);
}

async function registryOn(database: RegistryDatabase, rules: RegistryRules): Promise<Registry> {
  const { log, observeTermination = () => {} } = rules;
  const listeners: OperationListeners = {
    revocations: new Listeners('revocation', log),
    changes: new Listeners('device change', log),
    observeTermination,
  };
  const { revocations } = listeners;
  const accessEnded = new Listeners<OperatorAccessEnded>('operator access', log);
  const random = rules.randomBytes ?? randomBytes;
  // Logs usually leave the machine: an attacker who rewrites the database cannot change this copy of the audit head.
  log.info({ audit: await auditHead(database) }, 'audit opened');

  return {
    ...createTokenStore(database, random),
    ...createIssuanceStore(database, revocations, rules.overlapMs ?? DEFAULT_OVERLAP_MS),
    ...createRecoveryStore(database, rules.recovery ?? DEFAULT_RECOVERY),
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
