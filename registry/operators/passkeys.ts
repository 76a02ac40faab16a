/** Passkeys of operators (WebAuthn): their public keys and counters. Verifies no signature. */

import { Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import type { Actor } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { expectOperator } from './operators.ts';
import { writeOperators } from './write-operators.ts';

const MAX_PASSKEYS = 20;
const MAX_NAME = 64;

export interface NewPasskey {
  /** The credential id, base64url. */
  readonly id: string;
  readonly operator: string;
  /** 1 to 64 characters. */
  readonly name: string;
  /** COSE (RFC 9052). */
  readonly publicKey: Uint8Array;
  readonly counter: number;
  readonly transports: readonly string[];
  /** The host under which it was registered. */
  readonly rpId: string;
}

export interface PasskeyRecord extends NewPasskey {
  readonly createdAt: number;
  readonly lastUsedAt: number | undefined;
}

export interface PasskeyStore {
  /** Problem `passkey_exists` for a credential that was added before, `request_invalid` for the 21st. */
  addPasskey(passkey: NewPasskey, actor: Actor): Promise<PasskeyRecord>;
  /** Of an operator, the oldest first. */
  listPasskeys(operator: string): Promise<readonly PasskeyRecord[]>;
  findPasskey(id: string): Promise<PasskeyRecord | undefined>;
  /**
   * Records the use. False when the counter did not grow, which means that the key was copied: it is zero for passkeys that
   * are synchronized between devices, and then not compared.
   */
  usePasskey(id: string, counter: number): Promise<boolean>;
  /** Problem `passkey_unknown` for a credential that this operator does not have. */
  removePasskey(operator: string, id: string, actor: Actor): Promise<void>;
}

export function createPasskeyStore(database: RegistryDatabase): PasskeyStore {
  return {
    addPasskey: async (passkey, actor) => writeOperators(database, (tx) => addPasskey(tx, passkey, actor)),
    listPasskeys: async (operator) => database.read((tx) => listPasskeys(tx, operator)),
    findPasskey: async (id) => database.read((tx) => findPasskey(tx, id)),
    usePasskey: async (id, counter) =>
      database.write(function* (tx) {
        return (
          (yield* tx.run(
            `UPDATE operator_passkeys SET counter = @counter, last_used_at = @now
             WHERE id = @id AND (counter < @counter OR (counter = 0 AND @counter = 0))`,
            { id, counter, now: tx.now },
          )) === 1
        );
      }),
    removePasskey: async (operator, id, actor) =>
      writeOperators(database, function* (tx) {
        const removed = yield* tx.run('DELETE FROM operator_passkeys WHERE id = @id AND operator_name = @operator', {
          id,
          operator,
        });
        if (removed === 0) throw new Problem('passkey_unknown');
        recordDone(tx, {
          actor,
          action: 'operator.passkey.removed',
          subject: `operator/${operator}`,
          details: { passkey: id.slice(0, 64) },
        });
      }),
  };
}

interface PasskeyRow {
  readonly id: string;
  readonly operator_name: string;
  readonly name: string;
  readonly public_key: Buffer;
  readonly counter: number;
  readonly transports: string;
  readonly rp_id: string;
  readonly created_at: number;
  readonly last_used_at: number | null;
}

function* addPasskey(tx: Transaction, passkey: NewPasskey, actor: Actor): Steps<PasskeyRecord> {
  const { id, operator, name, publicKey, counter, transports, rpId } = passkey;
  yield* expectOperator(tx, operator);
  if ((yield* findPasskey(tx, id)) !== undefined) throw new Problem('passkey_exists');
  if (name === '' || name.length > MAX_NAME) throw invalid(`expected a name of 1 to ${MAX_NAME} characters`);
  if ((yield* listPasskeys(tx, operator)).length >= MAX_PASSKEYS)
    throw invalid(`expected at most ${MAX_PASSKEYS} passkeys`);
  yield* tx.run(
    `INSERT INTO operator_passkeys (id, operator_name, name, public_key, counter, transports, rp_id, created_at)
     VALUES (@id, @operator, @name, @publicKey, @counter, @transports, @rpId, @now)`,
    { id, operator, name, publicKey, counter, transports: JSON.stringify(transports), rpId, now: tx.now },
  );
  const details = { passkey: id.slice(0, 64), rpId };
  recordDone(tx, { actor, action: 'operator.passkey.added', subject: `operator/${operator}`, details });
  return (yield* findPasskey(tx, id)) as PasskeyRecord;
}

function* listPasskeys(tx: Transaction, operator: string): Steps<readonly PasskeyRecord[]> {
  const sql = 'SELECT * FROM operator_passkeys WHERE operator_name = @operator ORDER BY created_at, id';
  return (yield* tx.all<PasskeyRow>(sql, { operator })).map(readRow);
}

function* findPasskey(tx: Transaction, id: string): Steps<PasskeyRecord | undefined> {
  const row = yield* tx.get<PasskeyRow>('SELECT * FROM operator_passkeys WHERE id = @id', { id });
  return row && readRow(row);
}

function readRow(row: PasskeyRow): PasskeyRecord {
  return {
    id: row.id,
    operator: row.operator_name,
    name: row.name,
    publicKey: row.public_key,
    counter: row.counter,
    transports: JSON.parse(row.transports) as readonly string[],
    rpId: row.rp_id,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at ?? undefined,
  };
}

function invalid(detail: string): Problem {
  return new Problem('request_invalid', { detail });
}
