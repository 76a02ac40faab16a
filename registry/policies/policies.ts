import {
  DEFAULT_SERVICE_SCOPE,
  type PolicyDocument,
  type PolicyScope,
  Problem,
  parseGroupName,
  parseServiceName,
  QUARANTINE_SCOPE,
} from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Listeners } from '../listeners.ts';
import type { Actor, ChangeCheck } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { findPolicyText, POLICY_REMOVED, POLICY_SET } from './policy-versions.ts';

/** Characters of JSON; the audit entry contains the whole document. */
const MAX_DOCUMENT_LENGTH = 65_536;

const VERBS: readonly string[] = [
  'connect',
  'publish',
  'subscribe',
  'receive',
  'retain',
] satisfies (keyof PolicyDocument)[];
const SCOPE = /^(group|service)\/(.+)$/;

export interface SetPolicy {
  readonly scope: PolicyScope;
  readonly document: PolicyDocument;
  readonly setAt: number;
  readonly setBy: Actor;
}

export interface PolicyStore {
  findPolicy(scope: PolicyScope): Promise<PolicyDocument | undefined>;
  /** What is set, in the order of the scopes, at most 10,000. */
  listPolicies(): Promise<readonly SetPolicy[]>;
  /** Problem `policy_invalid` for a scope or a document of another shape, or one longer than 64 KiB. */
  setPolicy(
    scope: PolicyScope,
    policy: PolicyDocument,
    actor: Actor,
    check?: ChangeCheck<PolicyDocument | undefined>,
  ): Promise<void>;
  /** What applies without a policy of its own applies from now on. Problem `policy_unknown` where none is set. */
  removePolicy(scope: PolicyScope, actor: Actor, check?: ChangeCheck<PolicyDocument | undefined>): Promise<void>;
  /**
   * Sets or removes the policy as an earlier version has it, which makes another version. Problem `version_unknown` for a
   * version of another scope or of none.
   */
  restorePolicy(
    scope: PolicyScope,
    version: number,
    actor: Actor,
    check?: ChangeCheck<PolicyDocument | undefined>,
  ): Promise<void>;
  onPolicyChange(listener: (scope: PolicyScope) => void): () => void;
}

export function createPolicyStore(database: RegistryDatabase, changes: Listeners<PolicyScope>): PolicyStore {
  return {
    findPolicy: async (scope) => database.read((tx) => findPolicy(tx, scope)),
    listPolicies: async () => database.read(listPolicies),
    setPolicy: async (scope, policy, actor, check) => {
      expectScope(scope);
      const document = documentText(policy);
      await database.write(function* (tx) {
        yield* tx.lock('policy', [scope]);
        changes.publish(tx, scope);
        check?.(yield* findPolicy(tx, scope));
        yield* setPolicy(tx, { scope, document, actor });
      });
      await changes.notify([scope]);
    },
    removePolicy: async (scope, actor, check) => {
      await database.write(function* (tx) {
        yield* tx.lock('policy', [scope]);
        changes.publish(tx, scope);
        check?.(yield* findPolicy(tx, scope));
        yield* removePolicy(tx, { scope, actor });
      });
      await changes.notify([scope]);
    },
    restorePolicy: async (scope, version, actor, check) => {
      await database.write(function* (tx) {
        yield* tx.lock('policy', [scope]);
        changes.publish(tx, scope);
        check?.(yield* findPolicy(tx, scope));
        const document = yield* findPolicyText(tx, scope, version);
        if (document === undefined) yield* removePolicy(tx, { scope, actor, restores: version });
        else yield* setPolicy(tx, { scope, document: documentText(JSON.parse(document)), actor, restores: version });
      });
      await changes.notify([scope]);
    },
    onPolicyChange: (listener) => changes.add(listener),
  };
}

function* findPolicy(tx: Transaction, scope: PolicyScope): Steps<PolicyDocument | undefined> {
  const row = yield* tx.get<{ document: string }>('SELECT document FROM policies WHERE scope = @scope', { scope });
  return row && readDocument(JSON.parse(row.document), (reason) => new Problem('internal', { reason }));
}

function* listPolicies(tx: Transaction): Steps<readonly SetPolicy[]> {
  const rows = yield* tx.all<{ scope: PolicyScope; document: string; set_at: number; set_by: Actor }>(
    'SELECT scope, document, set_at, set_by FROM policies ORDER BY scope LIMIT 10000',
    {},
  );
  return rows.map(({ scope, document, set_at: setAt, set_by: setBy }) => ({
    scope,
    document: readDocument(JSON.parse(document), (reason) => new Problem('internal', { reason })),
    setAt,
    setBy,
  }));
}

interface PolicyChange {
  readonly scope: PolicyScope;
  readonly actor: Actor;
  /** The version that this change restores. */
  readonly restores?: number;
}

function* setPolicy(tx: Transaction, change: PolicyChange & { readonly document: string }): Steps<void> {
  const { scope, document, actor } = change;
  yield* tx.run(
    `INSERT INTO policies (scope, document, set_at, set_by) VALUES (@scope, @document, @now, @actor)
     ON CONFLICT (scope) DO UPDATE SET
       document = excluded.document, set_at = excluded.set_at, set_by = excluded.set_by`,
    { scope, document, now: tx.now, actor },
  );
  recordDone(tx, { actor, action: POLICY_SET, subject: scope, details: { document, ...restored(change) } });
}

function* removePolicy(tx: Transaction, change: PolicyChange): Steps<void> {
  const { scope, actor } = change;
  if ((yield* tx.run('DELETE FROM policies WHERE scope = @scope', { scope })) === 0)
    throw new Problem('policy_unknown');
  recordDone(tx, { actor, action: POLICY_REMOVED, subject: scope, details: restored(change) });
}

function restored({ restores }: PolicyChange): { readonly restores?: number } {
  return restores === undefined ? {} : { restores };
}

/** JSON with the lists in a fixed order. */
function documentText(policy: PolicyDocument): string {
  const document = JSON.stringify(readDocument(policy, invalid));
  if (document.length <= MAX_DOCUMENT_LENGTH) return document;
  throw invalid(`expected at most ${MAX_DOCUMENT_LENGTH} characters, found ${document.length}`);
}

function expectScope(scope: PolicyScope): void {
  const [, kind, name = ''] = SCOPE.exec(scope) ?? [];
  const known = kind === 'group' ? parseGroupName(name) : parseServiceName(name);
  if (scope !== DEFAULT_SERVICE_SCOPE && scope !== QUARANTINE_SCOPE && known === undefined) {
    throw invalid('expected a scope group/NAME, service/NAME, service/* or quarantine/*');
  }
}

function readDocument(value: unknown, problem: (text: string) => Problem): PolicyDocument {
  const document = value as Readonly<Record<keyof PolicyDocument, unknown>> | null;
  const list = (verb: keyof PolicyDocument): readonly string[] => {
    const entries = document?.[verb];
    if (Array.isArray(entries) && entries.every((entry) => typeof entry === 'string')) return entries;
    throw problem(`expected "${verb}" to be a list of texts`);
  };
  // What a newer release means by it could forbid something.
  const unknown = Object.keys(document ?? {}).filter((name) => !VERBS.includes(name));
  if (unknown.length > 0)
    throw problem(`expected only ${VERBS.join(', ')}, found ${JSON.stringify(unknown[0]?.slice(0, 64))}`);
  return {
    connect: list('connect'),
    publish: list('publish'),
    subscribe: list('subscribe'),
    receive: list('receive'),
    retain: list('retain'),
  };
}

function invalid(detail: string): Problem {
  return new Problem('policy_invalid', { detail });
}
