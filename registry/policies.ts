import {
  DEFAULT_SERVICE_SCOPE,
  type PolicyDocument,
  type PolicyScope,
  Problem,
  parseGroupName,
  parseServiceName,
  QUARANTINE_SCOPE,
} from '@rollcall/protocol';
import type { Logger } from 'pino';
import { recordDone } from './audit.ts';
import type { RegistryDatabase } from './database.ts';
import { Listeners } from './listeners.ts';
import type { Actor, ChangeCheck } from './registry.ts';
import type { Transaction } from './transaction.ts';

/** Characters of JSON; the audit entry contains the whole document. */
const MAX_DOCUMENT_LENGTH = 65_536;

const SCOPE = /^(group|service)\/(.+)$/;

export interface PolicyStore {
  findPolicy(scope: PolicyScope): Promise<PolicyDocument | undefined>;
  /** Problem `policy_invalid` for a scope or a document of another shape, or one longer than 64 KiB. */
  setPolicy(
    scope: PolicyScope,
    policy: PolicyDocument,
    actor: Actor,
    check?: ChangeCheck<PolicyDocument | undefined>,
  ): Promise<void>;
  onPolicyChange(listener: (scope: PolicyScope) => void): () => void;
}

export function createPolicyStore(database: RegistryDatabase, log: Logger): PolicyStore {
  const changes = new Listeners<PolicyScope>('policy change', log);
  return {
    findPolicy: async (scope) => database.read((tx) => findPolicy(tx, scope)),
    setPolicy: async (scope, policy, actor, check) => {
      setPolicy(database, scope, policy, actor, check);
      await changes.notify([scope]);
    },
    onPolicyChange: (listener) => changes.add(listener),
  };
}

function findPolicy(tx: Transaction, scope: PolicyScope): PolicyDocument | undefined {
  const row = tx.get<{ document: string }>('SELECT document FROM policies WHERE scope = @scope', { scope });
  return row && readDocument(JSON.parse(row.document), (reason) => new Problem('internal', { reason }));
}

function setPolicy(
  database: RegistryDatabase,
  scope: PolicyScope,
  policy: PolicyDocument,
  actor: Actor,
  check?: ChangeCheck<PolicyDocument | undefined>,
): void {
  expectScope(scope);
  const document = JSON.stringify(readDocument(policy, invalid));
  if (document.length > MAX_DOCUMENT_LENGTH) {
    throw invalid(`expected at most ${MAX_DOCUMENT_LENGTH} characters, found ${document.length}`);
  }
  database.write((tx) => {
    check?.(findPolicy(tx, scope));
    tx.run(
      `INSERT INTO policies (scope, document, set_at, set_by) VALUES (@scope, @document, @now, @actor)
       ON CONFLICT (scope) DO UPDATE SET
         document = excluded.document, set_at = excluded.set_at, set_by = excluded.set_by`,
      { scope, document, now: tx.now, actor },
    );
    recordDone(tx, { actor, action: 'policy.set', subject: scope, details: { document } });
  });
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
