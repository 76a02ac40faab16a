/** The audit as other modules sees it: what an entry is, how it is read, and how another module adds one. */

import type { Actor } from './registry.ts';

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
export interface ChainedAuditEntry extends AuditEntry {
  /** The hash of the entry before it; 64 zeros for the first. */
  readonly previous: string;
}

/** Something another module did that belongs into the audit. Never with a secret, a key or a payload. */
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
  /** Of this subject only. */
  readonly subject?: string;
  /** 1 to 10,000. */
  readonly limit: number;
}

/** What `verifyAudit` found. Whoever can write the file can rewrite the whole chain: only a head kept elsewhere shows that. */
export interface AuditVerification {
  readonly entries: number;
  /** The newest entry; keep it elsewhere. */
  readonly head: { readonly id: number; readonly hash: string };
  /** What is wrong first; undefined when the chain is whole. */
  readonly fault: string | undefined;
}

export interface AuditStore {
  /** Newest first. */
  listAudit(filter: AuditFilter): Promise<readonly AuditEntry[]>;
  /** Oldest first, those after an id, at most 10,000. */
  exportAudit(page: { readonly after?: number; readonly limit: number }): Promise<readonly ChainedAuditEntry[]>;
  /** Reads the whole chain; `kept` is a head that was noted elsewhere and has to be part of it. */
  verifyAudit(kept?: AuditVerification['head']): Promise<AuditVerification>;
  /**
   * Appends what another module did; what it is about to do goes through `performAnnouncedAction()`. Resolves to the id of the entry, 0
   * for a refusal that isn't kept: those of one subject are kept 32 an hour. What this registry does itself it records
   * itself. Problem `internal` for what is not an act, `unavailable` when it cannot be written.
   */
  recordAction(act: AuditedAction): Promise<number>;
}
