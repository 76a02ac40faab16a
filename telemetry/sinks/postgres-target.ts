/**
 * A target that is a table of PostgreSQL, partitioned by day: a batch is one INSERT, and a row that is there already stays.
 * Makes the table and its partitions where they are missing; removes none. Works through a pooler, also one that gives each
 * transaction another connection.
 */

import pg from 'pg';
import { COLUMNS, hasProperties, insertInto, PROPERTY_COLUMNS, valuesOf } from './postgres-insert.ts';
import { TABLE_NAME } from './table-name.ts';
import type { SinkMessage } from './target.ts';
import {
  deliverHalving,
  type RefusedMessage,
  type Secret,
  type SinkSource,
  type Target,
  TargetDown,
  type TargetNotice,
} from './target.ts';
import { type TargetTls, type TlsMaterial, targetError } from './tls.ts';

export interface PostgresTargetOptions {
  /** A host name, an address, or the directory of a unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password?: Secret | undefined;
  readonly tls: TargetTls;
  /** `table` or `schema.table`, of lower-case letters, digits and `_`. */
  readonly table: string;
  readonly source: SinkSource;
  /** For connecting, and for one statement, in ms. */
  readonly timeout: number;
}

const DAY_MS = 86_400_000;

/** New columns need a lock that others wait behind. */
const LOCK_TIMEOUT_MS = 1000;

/**
 * SQLSTATE classes that are about the row: data exception, integrity constraint, and what a trigger raises. All others are
 * about the server, the table or the connection, and may pass.
 */
const REFUSALS = /^(22|23|44)|^P0001$/;

/** insufficient_privilege; and of a partition whose range is taken: invalid_object_definition. */
const NOT_ALLOWED = '42501';
const OVERLAPS = '42P17';

export class PostgresTarget implements Target {
  readonly #options: PostgresTargetOptions;
  /** For messages without MQTT 5 properties other than the content type, and with. */
  readonly #insert: string;
  readonly #insertWithProperties: string;
  /** Whether the table has columns for them; undefined on a connection until the first message that needs them. */
  #hasPropertyColumns: boolean | undefined;
  #notice: TargetNotice | undefined;
  #client: pg.Client | undefined;
  #material: TlsMaterial | undefined;

  constructor(options: PostgresTargetOptions) {
    if (!TABLE_NAME.test(options.table)) throw new RangeError('expected a table, or a schema and a table');
    this.#options = options;
    this.#insert = insertInto(options.table, COLUMNS);
    this.#insertWithProperties = insertInto(options.table, { ...COLUMNS, ...PROPERTY_COLUMNS });
  }

  async deliver(messages: readonly SinkMessage[]): Promise<readonly RefusedMessage[]> {
    await this.#connected();
    return deliverHalving(messages, (part) => this.#attempt(part, true));
  }

  /** Resolves with the reason of a refusal. A day whose partition is missing gets one, once. */
  async #attempt(part: readonly SinkMessage[], mayCreate: boolean): Promise<string | undefined> {
    try {
      const withProperties = part.some(hasProperties) && (await this.#canTakeProperties());
      const text = withProperties ? this.#insertWithProperties : this.#insert;
      const values = valuesOf(this.#options.source, part, withProperties);
      await this.#inTransaction((client) => client.query({ text, values }));
      return undefined;
    } catch (error) {
      const { code, message } = error as pg.DatabaseError;
      if (isPartitionMissing(error)) {
        if (!mayCreate) throw await this.#down(this.#partitionMissing(part, 'and one of that name is not its own'));
        await this.#createPartitions(part);
        return this.#attempt(part, false);
      }
      if (code !== undefined && REFUSALS.test(code)) return `${code}: ${message}`;
      if (code === NOT_ALLOWED) {
        throw await this.#down(
          new TargetDown(`expected the right INSERT on ${this.#options.table} (${code}: ${message})`, { cause: error }),
        );
      }
      throw await this.#down(error);
    }
  }

  takeNotice(): TargetNotice | undefined {
    const notice = this.#notice;
    this.#notice = undefined;
    return notice;
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await client?.end().catch(() => {});
  }

  async #connected(): Promise<pg.Client> {
    const { host, port, database, user, password, tls, timeout } = this.#options;
    let material: TlsMaterial | undefined;
    let secret: string | undefined;
    try {
      material = tls === 'none' ? undefined : tls();
      if (this.#client !== undefined && material === this.#material) return this.#client;
      await this.close();
      secret = password?.();
    } catch (error) {
      throw await this.#down(error);
    }
    const client = new pg.Client({
      host,
      port,
      database,
      user,
      ...(secret !== undefined && { password: secret }),
      ssl: material === undefined ? false : { rejectUnauthorized: true, ...material },
      connectionTimeoutMillis: timeout,
      query_timeout: timeout + 1000, // the server's own, of each transaction, comes first
      keepAlive: true,
      application_name: 'rollcall',
    });
    // Without a listener a connection that ends would end the process.
    client.on('error', () => this.#forget(client));
    client.on('end', () => this.#forget(client));
    try {
      await client.connect();
      this.#client = client;
      this.#material = material;
      this.#hasPropertyColumns = undefined;
      await this.#prepareTable();
    } catch (error) {
      this.#client = client;
      throw await this.#down(error);
    }
    return client;
  }

  #forget(client: pg.Client): void {
    if (this.#client !== client) return;
    this.#client = undefined;
  }

  /**
   * Everything goes in transactions with settings of their own, and without named statements: behind a pooler the next transaction may
   * come on another connection, and what one leaves there another client would find.
   */
  async #inTransaction<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const client = this.#client;
    if (client === undefined) throw new TargetDown('the connection ended');
    await client.query(`BEGIN; SET LOCAL statement_timeout = ${this.#options.timeout}`);
    try {
      const result = await work(client);
      await client.query('COMMIT');
      return result;
    } catch (error) {
      if (error instanceof pg.DatabaseError) await client.query('ROLLBACK').catch(() => {});
      throw error;
    }
  }

  async #prepareTable(): Promise<void> {
    const { table } = this.#options;
    await this.#inTransaction(async (client) => {
      const { rows } = await client.query('SELECT to_regclass($1) AS found', [table]);
      if (rows[0]?.found !== null) return;
      // The journal's position names a message; the time of its receipt is always the same with it, and has to be in the key
      // of a table that is partitioned by it (PostgreSQL, "Declarative Partitioning", limitations).
      await client.query(`CREATE TABLE IF NOT EXISTS ${table} (
          received_at     timestamptz NOT NULL,
          source          text NOT NULL,
          position        bigint NOT NULL,
          device          text NOT NULL,
          stream          text NOT NULL,
          qos             smallint NOT NULL,
          device_time     timestamptz,
          device_sequence double precision,
          message_key     text,
          content_type    text,
          payload         bytea NOT NULL,
          payload_format  smallint,
          user_properties jsonb,
          PRIMARY KEY (received_at, source, position)
        ) PARTITION BY RANGE (received_at)`);
      await client.query(
        `CREATE INDEX IF NOT EXISTS ${bare(table)}_by_device ON ${table} (device, stream, received_at)`,
      );
    }).catch((error: pg.DatabaseError) => {
      if (error.code !== NOT_ALLOWED) throw error;
      throw new TargetDown(
        `expected the table ${table}, or the right CREATE on its schema to make it (${error.code}: ${error.message})`,
        { cause: error },
      );
    });
  }

  /**
   * A table of an earlier version gets the columns, if the user owns it. Without them messages are delivered all the same: one device
   * that sends properties must not stop the sink.
   */
  async #canTakeProperties(): Promise<boolean> {
    const { table } = this.#options;
    const names = Object.keys(PROPERTY_COLUMNS);
    const add = `ALTER TABLE ${table} ADD COLUMN IF NOT EXISTS payload_format smallint, ADD COLUMN IF NOT EXISTS user_properties jsonb`;
    if (this.#hasPropertyColumns === true) return true;
    const mayAdd = this.#hasPropertyColumns === undefined;
    this.#hasPropertyColumns = await this.#inTransaction(async (client) => {
      const sql = `SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = ANY($2)
        AND NOT attisdropped AND has_column_privilege(attrelid, attnum, 'INSERT')`;
      if ((await client.query(sql, [table, names])).rows.length === names.length) return true;
      if (mayAdd) await client.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}; ${add}`);
      return mayAdd;
    }).catch((error: unknown) => {
      if (!(error instanceof pg.DatabaseError)) throw error;
      const text =
        `payload format and user properties of messages are not written: expected the columns ${names.join(' and ')} in ` +
        `${table}, with the right INSERT; an owner of the table makes them with ${add} (${error.code}: ${error.message})`;
      this.#notice = { isLoss: false, text };
      return false;
    });
    return this.#hasPropertyColumns;
  }

  async #createPartitions(messages: readonly SinkMessage[]): Promise<void> {
    const { table } = this.#options;
    try {
      for (const day of daysOf(messages)) {
        const [from, to] = [dateOf(day), dateOf(day + 1)];
        // A day may be in a partition of the operator's own already, under another name; and who may only insert makes none.
        await this.#inTransaction(async (client) => {
          const name = `${table}_${from.replaceAll('-', '')}`;
          const { rows } = await client.query('SELECT to_regclass($1) AS found', [name]);
          if (rows[0]?.found !== null) return;
          await client.query(`CREATE TABLE IF NOT EXISTS ${name} PARTITION OF ${table}
            FOR VALUES FROM ('${from} 00:00:00+00') TO ('${to} 00:00:00+00')`);
        }).catch((error: pg.DatabaseError) => {
          if (error.code !== OVERLAPS) throw error; // 42P17: another one has the day, or a part of it
        });
      }
    } catch (error) {
      const { code, message } = error as pg.DatabaseError;
      if (code !== NOT_ALLOWED) throw await this.#down(error);
      throw await this.#down(
        this.#partitionMissing(
          messages,
          `and ${this.#options.user} may not make it: make it, or make this user the owner of the table, with CREATE on ` +
            `its schema (${code}: ${message})`,
        ),
      );
    }
  }

  #partitionMissing(messages: readonly SinkMessage[], why: string): TargetDown {
    const days = daysOf(messages).map(dateOf).join(', ');
    return new TargetDown(`expected a partition of ${this.#options.table} for each of ${days} (UTC), ${why}`);
  }

  /** A connection on which something failed is not used again. */
  async #down(error: unknown): Promise<TargetDown> {
    const client = this.#client;
    if (client !== undefined) {
      this.#forget(client);
      client.end().catch(() => {});
    }
    return targetError(error);
  }
}

/** "no partition of relation found for row" has the code of a CHECK that failed, but names no constraint. */
function isPartitionMissing(error: unknown): boolean {
  const { code, constraint } = error as pg.DatabaseError;
  return code === '23514' && constraint === undefined;
}

/** Days since 1970, UTC. */
function daysOf(messages: readonly SinkMessage[]): readonly number[] {
  return [...new Set(messages.map(({ receivedAt }) => Math.floor(receivedAt / DAY_MS)))];
}

function dateOf(day: number): string {
  return new Date(day * DAY_MS).toISOString().slice(0, 10);
}

function bare(table: string): string {
  return table.slice(table.indexOf('.') + 1);
}
