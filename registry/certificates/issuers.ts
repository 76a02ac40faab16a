import { type Identity, Problem } from '@rollcall/protocol';
import { auditTime, recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { countHolders, listHolders, notSeenSince, strandedBy } from './stranded-holders.ts';

/**
 * - `prepared`: in the trust bundle, signs nothing yet
 * - `active`: the one that signs
 * - `outgoing`: was active; certificates it signed are still valid
 * - `tainted`: certificates it signed are still valid, and are to be renewed now
 * - `retired`: out of the trust bundle; certificates it signed are no longer valid
 */
export type IssuerState = 'prepared' | 'active' | 'outgoing' | 'tainted' | 'retired';

export interface NewIssuer {
  /** Key identifier of its certificate, 40 digits of lower-case hexadecimal. */
  readonly id: string;
  readonly role: 'root' | 'issuing';
  /** The root above an issuing CA; undefined for a root. */
  readonly rootId: string | undefined;
  readonly der: Uint8Array;
  /** PEM: certificates from it to roots that devices may trust, other than its own root. May be empty. */
  readonly chain: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface IssuerRecord extends NewIssuer {
  readonly state: IssuerState;
  readonly preparedAt: number;
  readonly activatedAt: number | undefined;
  readonly taintedAt: number | undefined;
  readonly retiredAt: number | undefined;
}

export interface IssuerStore {
  /** In the order in which they were prepared. */
  listIssuers(): Promise<readonly IssuerRecord[]>;
  /**
   * Records CAs at once: `prepared`, or `active` where there is none active of that role. One that is known stays as it
   * is. The first issuing CA is recorded as the issuer of all earlier certificates.
   */
  addIssuers(issuers: readonly NewIssuer[], actor: Actor): Promise<void>;
  /**
   * Records the first root and issuing CA, unless there is a root already. Returns the id of the first root that is recorded: another one when
   * another node was faster.
   */
  addFirstIssuers(issuers: readonly [root: NewIssuer, issuing: NewIssuer], actor: Actor): Promise<string>;
  /** The prepared CA signs from now on, and its root if that is prepared too; the active one becomes outgoing. Problem `ca_state_conflict` when it isn't prepared. */
  activateIssuer(id: string, actor: Actor): Promise<void>;
  /** Of an outgoing CA. Problem `ca_state_conflict` otherwise. */
  taintIssuer(id: string, actor: Actor): Promise<void>;
  /**
   * For an outgoing or tainted CA, or a prepared one that is not needed. Problem `ca_would_strand` when more devices
   * and services than `maxStranded` would be without a valid certificate; `ca_state_conflict` otherwise.
   */
  retireIssuer(id: string, maxStranded: number, actor: Actor): Promise<void>;
  /**
   * Devices and services without a valid certificate when this CA is retired; for a root, those that got none since
   * its successor was made.
   */
  countStranded(id: string): Promise<number>;
  /** The same holders, devices first, in the order of their names, at most so many. */
  listStranded(id: string, most: number): Promise<readonly Identity[]>;
  /** Devices and services that got no certificate since that time, and so may not trust CAs made later. */
  countNotSeenSince(at: number): Promise<number>;
  /** The same holders, devices first, in the order of their names, at most so many. */
  listNotSeenSince(at: number, most: number): Promise<readonly Identity[]>;
  /** Certificates of this CA that are neither revoked nor expired. */
  countIssued(id: string): Promise<number>;
}

export function createIssuerStore(database: RegistryDatabase): IssuerStore {
  const write = <Result>(body: (tx: Transaction) => Steps<Result>) =>
    database.write(function* (tx) {
      yield* tx.lock('issuers');
      return yield* body(tx);
    });
  return {
    listIssuers: async () =>
      database.read(function* (tx) {
        return (yield* tx.all<IssuerRow>('SELECT * FROM issuers ORDER BY prepared_at, role DESC, id', {})).map(readRow);
      }),
    addIssuers: async (issuers, actor) =>
      write(function* (tx) {
        for (const issuer of issuers) yield* addIssuer(tx, issuer, actor);
      }),
    addFirstIssuers: async (issuers, actor) =>
      write(function* (tx) {
        const sql = `SELECT id FROM issuers WHERE role = 'root' ORDER BY prepared_at, id LIMIT 1`;
        const first = yield* tx.get<{ readonly id: string }>(sql, {});
        if (first !== undefined) return first.id;
        for (const issuer of issuers) yield* addIssuer(tx, issuer, actor);
        return issuers[0].id;
      }),
    activateIssuer: async (id, actor) => write((tx) => activate(tx, id, actor)),
    taintIssuer: async (id, actor) =>
      write(function* (tx) {
        const found = yield* expectState(tx, id, ['outgoing']);
        yield* tx.run(`UPDATE issuers SET state = 'tainted', tainted_at = @now WHERE id = @id`, { id, now: tx.now });
        recordDone(tx, { actor, action: 'ca.tainted', subject: `ca/${id}`, details: { role: found.role } });
      }),
    retireIssuer: async (id, maxStranded, actor) => write((tx) => retire(tx, id, maxStranded, actor)),
    countStranded: async (id) =>
      database.read(function* (tx) {
        return yield* countHolders(tx, yield* strandedBy(tx, yield* find(tx, id)));
      }),
    listStranded: async (id, most) =>
      database.read(function* (tx) {
        return yield* listHolders(tx, yield* strandedBy(tx, yield* find(tx, id)), most);
      }),
    countNotSeenSince: async (at) => database.read((tx) => countHolders(tx, notSeenSince(at))),
    listNotSeenSince: async (at, most) => database.read((tx) => listHolders(tx, notSeenSince(at), most)),
    countIssued: async (id) =>
      database.read(function* (tx) {
        return (
          (yield* tx.get<{ n: number }>(
            'SELECT count(*) AS n FROM certificates WHERE issuer_id = @id AND not_after > @now AND revoked_at IS NULL',
            { id, now: tx.now },
          ))?.n ?? 0
        );
      }),
  };
}

interface IssuerRow {
  readonly id: string;
  readonly role: 'root' | 'issuing';
  readonly state: IssuerState;
  readonly root_id: string | null;
  readonly not_before: number;
  readonly not_after: number;
  readonly prepared_at: number;
  readonly activated_at: number | null;
  readonly tainted_at: number | null;
  readonly retired_at: number | null;
  readonly der: Buffer;
  readonly chain: string;
}

function* addIssuer(tx: Transaction, issuer: NewIssuer, actor: Actor): Steps<void> {
  const { id, role } = issuer;
  if ((yield* find(tx, id)) !== undefined) return;
  const isFirst = (yield* tx.get('SELECT 1 FROM issuers WHERE role = @role', { role })) === undefined;
  const hasActive =
    (yield* tx.get(`SELECT 1 FROM issuers WHERE role = @role AND state = 'active'`, { role })) !== undefined;
  if (
    hasActive &&
    (yield* tx.get(`SELECT 1 FROM issuers WHERE role = @role AND state = 'prepared'`, { role })) !== undefined
  ) {
    throw conflict(`expected no prepared ${role} CA, found one`);
  }
  yield* tx.run(
    `INSERT INTO issuers (id, role, state, root_id, not_before, not_after, prepared_at, activated_at, der, chain)
     VALUES (@id, @role, @state, @rootId, @notBefore, @notAfter, @now, @activatedAt, @der, @chain)`,
    {
      id,
      role,
      state: hasActive ? 'prepared' : 'active',
      rootId: issuer.rootId ?? null,
      notBefore: issuer.notBefore,
      notAfter: issuer.notAfter,
      now: tx.now,
      activatedAt: hasActive ? null : tx.now,
      der: issuer.der,
      chain: issuer.chain,
    },
  );
  if (role === 'issuing' && isFirst)
    yield* tx.run('UPDATE certificates SET issuer_id = @id WHERE issuer_id IS NULL', { id });
  const details = { role, state: hasActive ? 'prepared' : 'active', notAfter: auditTime(issuer.notAfter) };
  recordDone(tx, { actor, action: 'ca.added', subject: `ca/${id}`, details });
}

function* activate(tx: Transaction, id: string, actor: Actor): Steps<void> {
  const { role, rootId } = yield* expectState(tx, id, ['prepared']);
  // An active issuing CA needs an active root: both change at once.
  if (rootId !== undefined && (yield* find(tx, rootId))?.state === 'prepared') yield* activate(tx, rootId, actor);
  yield* tx.run(`UPDATE issuers SET state = 'outgoing' WHERE role = @role AND state = 'active'`, { role });
  yield* tx.run(`UPDATE issuers SET state = 'active', activated_at = @now WHERE id = @id`, { id, now: tx.now });
  recordDone(tx, { actor, action: 'ca.activated', subject: `ca/${id}`, details: { role } });
}

function* retire(tx: Transaction, id: string, maxStranded: number, actor: Actor): Steps<void> {
  const found = yield* expectState(tx, id, ['prepared', 'outgoing', 'tainted']);
  const { role } = found;
  if (role === 'root') {
    const below = yield* tx.get<{ id: string }>(`SELECT id FROM issuers WHERE root_id = @id AND state <> 'retired'`, {
      id,
    });
    if (below !== undefined) throw conflict(`expected its issuing CAs to be retired before it, found ${below.id}`);
  }
  const count = yield* countHolders(tx, yield* strandedBy(tx, found));
  if (count > maxStranded) {
    throw new Problem('ca_would_strand', {
      detail: `${count} devices and services would have no valid certificate; renew them first`,
      hint: `rollcall renewals pull --issuer ${id}, then rollcall renewals status; --strand ${count} gives them up`,
    });
  }
  yield* tx.run(`UPDATE issuers SET state = 'retired', retired_at = @now WHERE id = @id`, { id, now: tx.now });
  recordDone(tx, { actor, action: 'ca.retired', subject: `ca/${id}`, details: { role, stranded: count } });
}

function* expectState(tx: Transaction, id: string, wanted: readonly IssuerState[]): Steps<IssuerRecord> {
  const found = yield* find(tx, id);
  if (found === undefined) throw new Problem('ca_unknown');
  if (!wanted.includes(found.state)) {
    throw conflict(`expected ${found.role} CA ${id} to be ${wanted.join(' or ')}, found it ${found.state}`);
  }
  return found;
}

function conflict(detail: string): Problem {
  return new Problem('ca_state_conflict', { detail });
}

function* find(tx: Transaction, id: string): Steps<IssuerRecord | undefined> {
  const row = yield* tx.get<IssuerRow>('SELECT * FROM issuers WHERE id = @id', { id });
  return row === undefined ? undefined : readRow(row);
}

function readRow(row: IssuerRow): IssuerRecord {
  return {
    id: row.id,
    role: row.role,
    state: row.state,
    rootId: row.root_id ?? undefined,
    der: row.der,
    chain: row.chain,
    notBefore: row.not_before,
    notAfter: row.not_after,
    preparedAt: row.prepared_at,
    activatedAt: row.activated_at ?? undefined,
    taintedAt: row.tainted_at ?? undefined,
    retiredAt: row.retired_at ?? undefined,
  };
}
