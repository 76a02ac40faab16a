/**
 * Earlier versions of policies and group profiles. The audit has each of them whole, in the entry of its change, so that a
 * version cannot be changed unnoticed; its number is the id of that entry.
 */

import { type GroupName, type PolicyDocument, type PolicyScope, Problem, parseDecimal } from '@rollcall/protocol';
import { expectLimit } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { GroupProfile } from '../devices/group-profiles.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';

export const POLICY_SET = 'policy.set';
export const POLICY_REMOVED = 'policy.removed';
export const PROFILE_SET = 'group.profile_set';

export interface Version<Value> {
  /** Grows with each change; not without gaps. */
  readonly version: number;
  readonly at: number;
  readonly actor: Actor;
  /** Undefined when the change removed it. */
  readonly value: Value | undefined;
  /** The version that this one restored. */
  readonly restores: number | undefined;
}

export interface VersionPage {
  /** Versions below this one. */
  readonly before?: number;
  /** 1 to 10,000. */
  readonly limit: number;
}

export interface PolicyVersionStore {
  /** Newest first. */
  listPolicyVersions(scope: PolicyScope, page: VersionPage): Promise<readonly Version<PolicyDocument>[]>;
  /** Newest first. A profile without a field was removed. */
  listProfileVersions(group: GroupName, page: VersionPage): Promise<readonly Version<GroupProfile>[]>;
  /** What the version set; undefined when it removed the policy. Problem `version_unknown`. */
  findPolicyVersion(scope: PolicyScope, version: number): Promise<PolicyDocument | undefined>;
}

export function createPolicyVersionStore(database: RegistryDatabase): PolicyVersionStore {
  return {
    listPolicyVersions: async (scope, page) =>
      (await database.read((tx) => listVersions(tx, scope, [POLICY_SET, POLICY_REMOVED], page))).map(
        ({ text, ...version }) => ({
          ...version,
          value: text === null ? undefined : (JSON.parse(text) as PolicyDocument),
        }),
      ),
    listProfileVersions: async (group, page) =>
      (await database.read((tx) => listVersions(tx, `group/${group}`, [PROFILE_SET], page))).map(
        ({ text, ...version }) => ({
          ...version,
          value: text === null || text === '{}' ? undefined : (JSON.parse(text) as GroupProfile),
        }),
      ),
    findPolicyVersion: async (scope, version) => {
      const text = await database.read((tx) => findPolicyText(tx, scope, version));
      return text === undefined ? undefined : (JSON.parse(text) as PolicyDocument);
    },
  };
}

/** The JSON that a version set; undefined when it removed the policy. Problem `version_unknown`. */
export function* findPolicyText(tx: Transaction, scope: PolicyScope, version: number): Steps<string | undefined> {
  const row = yield* tx.get<{ text: string | null }>(
    `SELECT details ->> 'document' AS text FROM audit
     WHERE id = @version AND subject = @scope AND action IN ('${POLICY_SET}', '${POLICY_REMOVED}')`,
    { version, scope },
  );
  if (row === undefined) throw new Problem('version_unknown');
  return row.text ?? undefined;
}

interface VersionRow {
  readonly version: number;
  readonly at: number;
  readonly actor: Actor;
  readonly text: string | null;
  /** PostgreSQL has the values of JSON as texts. */
  readonly restores: number | string | null;
}

function* listVersions(
  tx: Transaction,
  subject: string,
  [first, second = first]: readonly [string, string?],
  page: VersionPage,
): Steps<readonly (Omit<VersionRow, 'restores'> & { readonly restores: number | undefined })[]> {
  const rows = yield* tx.all<VersionRow>(
    `SELECT id AS version, at, actor, details ->> 'restores' AS restores,
       coalesce(details ->> 'document', details ->> 'profile') AS text
     FROM audit WHERE subject = @subject AND action IN (@first, @second) AND id < @before ORDER BY id DESC LIMIT @limit`,
    { subject, first, second, before: page.before ?? Number.MAX_SAFE_INTEGER, limit: expectLimit(page.limit) },
  );
  return rows.map((row) => ({
    ...row,
    restores: row.restores === null ? undefined : parseDecimal(String(row.restores), 1),
  }));
}
