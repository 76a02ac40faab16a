/** The audit as other modules see it: its entries, how they are read, and how another module adds one. */

import type { Actor } from '../registry.ts';

export interface AuditEntry {
  readonly id: number;
  readonly at: number;
  readonly actor: Actor;
  /** `token.minted`, `device.enrolled`, … : noun, dot, past participle. */
  readonly action: string;
  /** The object of the action: `device/dev-7`, `token/9f…`, `group/default`. */
  readonly subject: string;
  readonly outcome: 'done' | 'refused';
  readonly details: Readonly<Record<string, string | number>>;
  /** SHA-256 over the entry before it and this one, lower-case hexadecimal (`registry/audit/audit-chain.ts`). */
  readonly hash: string;
}

/** An exported entry: it can be checked without its predecessor. */
export interface ChainedAuditEntry extends AuditEntry {
  /** The hash of the entry before it; 64 zeros for the first. */
  readonly previous: string;
}

/** An action of another module. Never contains a secret, a key or a payload. */
export interface AuditedAction {
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
  /** `operator/alice`, or a kind: `operator`. */
  readonly actor?: string;
  /** `device.revoked`, or a kind: `device`. */
  readonly action?: string;
  /** `device/press-7`, or a kind: `device`. */
  readonly subject?: string;
  readonly outcome?: AuditEntry['outcome'];
  /** Milliseconds since the epoch: entries at or after this time. */
  readonly since?: number;
  /** Milliseconds since the epoch: entries before this time. */
  readonly until?: number;
  /** 1 to 10,000. */
  readonly limit: number;
}

/**
 * Result of `verifyAudit`. An attacker who can write the file can rewrite the whole chain: only a head that is stored
 * elsewhere shows that.
 */
export interface AuditVerification {
  readonly entries: number;
  /** The newest entry; store it elsewhere. */
  readonly head: { readonly id: number; readonly hash: string };
  /** The first fault; undefined when the chain is complete. */
  readonly fault: string | undefined;
}

export interface AuditStore {
  /** Newest first. */
  listAudit(filter: AuditFilter): Promise<readonly AuditEntry[]>;
  /** Oldest first, those after an id, at most 10,000. */
  exportAudit(page: { readonly after?: number; readonly limit: number }): Promise<readonly ChainedAuditEntry[]>;
  /** Verifies the whole chain; `expected` is a head that was stored elsewhere and has to be part of it. */
  verifyAudit(expected?: AuditVerification['head']): Promise<AuditVerification>;
  /**
   * Records what another module did; what it is going to do goes through `performAnnouncedAction()`. Resolves to the id of the entry, 0
   * for a refusal over the limit of 32 an hour per subject. The registry records its own changes
   * itself. Problem `internal` for an invalid action, `unavailable` when it cannot be written.
   */
  recordAction(action: AuditedAction): Promise<number>;
}
