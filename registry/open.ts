/** Opens a registry on SQLite or PostgreSQL: one store per subject, each method one transaction. */

import { randomBytes } from 'node:crypto';
import type { PolicyScope } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { migrate } from '../storage/postgres/index.ts';
import { auditHead, createAuditStore, hasAuditEntry } from './audit/audit.ts';
import type { AuditHead } from './audit/audit-chain.ts';
import { findCertificateStatus } from './certificates/certificate-status.ts';
import { createExpiryStore } from './certificates/expiry.ts';
import { createIssuanceStore } from './certificates/issuance-store.ts';
import { createIssuerStore } from './certificates/issuers.ts';
import { createPublishedStatusStore } from './certificates/published-status.ts';
import { createRecoveryStore, DEFAULT_RECOVERY, type RecoveryLimits } from './certificates/recovery.ts';
import { createRenewalWindowStore } from './certificates/renewal-windows.ts';
import { type CertificateRevocation, createCertificateRevocationStore } from './certificates/revoke-certificate.ts';
import { DEFAULT_OVERLAP_MS } from './certificates/supersession.ts';
import type { OtherNodes, RegistryDatabase } from './database.ts';
import type { DeviceChange, TerminationReport } from './devices/device-operation-types.ts';
import { createDeviceStore } from './devices/device-store.ts';
import { createGroupProfileStore } from './devices/group-profiles.ts';
import { createPresenceStore } from './devices/presence.ts';
import { Listeners } from './listeners.ts';
import { createNodeStore, type NodeStore } from './nodes.ts';
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
import { ChangeLog, type ChangeLogOptions } from './postgres/change-log.ts';
import { PostgresRegistryDatabase } from './postgres/postgres-registry-database.ts';
import { registryTables } from './postgres/tables.ts';
import type { Registry, Revocation } from './registry.ts';
import { createServiceStore } from './services.ts';
import { openDatabase } from './sqlite/sqlite-database.ts';
import { createTokenStore } from './tokens/tokens.ts';
import type { ChangeKind } from './transaction.ts';

export { readActiveIssuer, readAuditHead, readVerifiedAuditHead } from './backup-inspection.ts';
export type { CopiedTable } from './copy/copied-table.ts';
export { auditFault, copyRegistry, digestRegistry, type TableDigest } from './copy/copy-registry.ts';
export { PostgresRegistryRows } from './copy/postgres-registry.ts';
export { SqliteRegistryRows } from './copy/sqlite-registry.ts';
export { registryTables } from './postgres/tables.ts';
export { inspectRegistry } from './sqlite/sqlite-database.ts';

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
  return registryOn(openDatabase(options), createListeners(options.log, undefined), options);
}

export interface PostgresRegistryOptions
  extends RegistryRules,
    Pick<ChangeLogOptions, 'database' | 'wakes' | 'node' | 'outdated'> {
  /** The nodes beside this one, whose confirmation a revocation waits for; none without it. */
  readonly others?: ChangeLogOptions['others'];
  /** How long it waits for them, milliseconds; 1 s without it. */
  readonly confirmWithin?: number;
  /** Milliseconds since the epoch, by the database's clock as far as this node knows it; `now` without it. */
  readonly databaseNow?: () => number;
}

/** A registry that several nodes have. */
export interface SharedRegistry extends Registry, NodeStore {
  /**
   * Resolves when the listeners of this node have done what follows from all changes that other nodes have committed until now. Throws
   * Problem `unavailable`, and what the database throws.
   */
  changesHeard(): Promise<void>;
  auditHead(): Promise<AuditHead>;
  /** Whether the audit has an entry with this id and hash. */
  hasAuditEntry(entry: AuditHead): Promise<boolean>;
}

const CONFIRM_WITHIN_MS = 1_000;

/**
 * Brings the tables to this version, and tells its listeners what other nodes commit from now on. Has the database from here on: it is closed
 * with the registry, and when that cannot be opened. The wakes are not. Throws Problem `database_newer`, and what the database throws.
 */
export async function openPostgresRegistry(options: PostgresRegistryOptions): Promise<SharedRegistry> {
  const { database, now, databaseNow = now, others = async () => [], confirmWithin = CONFIRM_WITHIN_MS } = options;
  const changes = new ChangeLog({ ...options, others, confirmWithin, now: databaseNow });
  const tables = new PostgresRegistryDatabase(database, changes, now);
  try {
    await migrate(database, registryTables());
    const listeners = createListeners(options.log, changes);
    await changes.start((kind, change) => listeners[kind].notifyHere([change as never]));
    const registry = await registryOn(tables, listeners, options);
    const nodes = createNodeStore(tables, options.randomBytes ?? randomBytes);
    return {
      ...registry,
      ...nodes,
      changesHeard: () => changes.caughtUp(),
      auditHead: () => auditHead(tables),
      hasAuditEntry: (entry) => hasAuditEntry(tables, entry),
    };
  } catch (error) {
    await tables.close();
    throw error;
  }
}

type ChangeListeners = ReturnType<typeof createListeners>;

function createListeners(log: Logger, others: OtherNodes | undefined) {
  return {
    revocation: new Listeners<Revocation, TerminationReport>('revocation', log, others),
    'revocation of a certificate': new Listeners<CertificateRevocation, TerminationReport>(
      'revocation of a certificate',
      log,
      others,
    ),
    'device change': new Listeners<DeviceChange, TerminationReport>('device change', log, others),
    'policy change': new Listeners<PolicyScope>('policy change', log, others),
    'operator access': new Listeners<OperatorAccessEnded>('operator access', log, others),
  } as const satisfies Record<ChangeKind, unknown>;
}

async function registryOn(
  database: RegistryDatabase,
  listeners: ChangeListeners,
  rules: RegistryRules,
): Promise<Registry> {
  const { log, observeTermination = () => {} } = rules;
  const { revocation: revocations, 'operator access': accessEnded } = listeners;
  const operationListeners = { revocations, changes: listeners['device change'], observeTermination };
  const random = rules.randomBytes ?? randomBytes;
  // Logs usually leave the machine: an attacker who rewrites the database cannot change this copy of the audit head.
  log.info({ audit: await auditHead(database) }, 'audit opened');

  return {
    ...createTokenStore(database, random),
    ...createIssuanceStore(database, revocations, rules.overlapMs ?? DEFAULT_OVERLAP_MS),
    ...createRecoveryStore(database, rules.recovery ?? DEFAULT_RECOVERY),
    ...createDeviceStore(database, operationListeners),
    ...createPresenceStore(database),
    ...createServiceStore(database, revocations),
    ...createCertificateRevocationStore(database, listeners['revocation of a certificate'], observeTermination),
    ...createPublishedStatusStore(database),
    ...createRenewalWindowStore(database),
    ...createExpiryStore(database),
    ...createIssuerStore(database),
    ...createGroupProfileStore(database),
    ...createPolicyStore(database, listeners['policy change']),
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
