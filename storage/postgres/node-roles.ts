/**
 * Roles of the database for single nodes. Each is a member of the fleet's role and acts as it from its login on, so that everything belongs to
 * the fleet's role. They are made and removed as the role that logged in here, which needs CREATEROLE.
 */

import { randomBytes } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { PostgresDatabase, PostgresTransaction } from './database.ts';
import { isPasswordVerifier } from './password-verifier.ts';
import { sqlstateOf } from './postgres-problem.ts';

/** What remains of a role after its removal. */
export interface RemovedRole {
  /** `disabled`: it cannot log in, and something in the database still names it. `kept`: nothing was changed. */
  readonly role: 'dropped' | 'disabled' | 'kept';
  /** Whether its connections were ended; `kept` lacks the right. */
  readonly connections: 'ended' | 'kept';
  /** What a superuser has to do, when something is left. */
  readonly sql: readonly string[];
}

interface Rights {
  readonly login: string;
  readonly fleet: string;
  readonly version: number;
  readonly creates: boolean;
  readonly administers: boolean;
}

const RIGHTS = `SELECT session_user::text AS login, current_user::text AS fleet, current_setting('server_version_num')::integer AS version,
  (rolcreaterole OR rolsuper) AS creates,
  (rolsuper OR pg_has_role(session_user, current_user, 'MEMBER WITH ADMIN OPTION')) AS administers
  FROM pg_roles WHERE rolname = session_user`;
/** From here on a role with CREATEROLE grants only the roles that it administers. */
const ADMIN_NEEDED = 160_000;
const INSUFFICIENT_PRIVILEGE = '42501';
const LACKS_RIGHT = /^(42501|2BP01)$/;
const PREFIX_AT_MOST = 40;

/** A name that no other node ever had, also not one of another fleet on the same server. */
export function nodeRoleName(node: string): string {
  return `rollcall_${node.slice(0, PREFIX_AT_MOST)}_${randomBytes(4).toString('hex')}`;
}

export class NodeRoles {
  readonly #database: PostgresDatabase;

  constructor(database: PostgresDatabase) {
    this.#database = database;
  }

  /** Throws Problem `database_roles_refused` with what a superuser has to run. */
  async expectRights(): Promise<void> {
    const rights = (await this.#database.query<Rights>(RIGHTS)).rows[0] as Rights;
    const isEnough = rights.creates && (rights.version < ADMIN_NEEDED || rights.administers);
    if (!isEnough) throw refusal(rights);
  }

  /** Makes a role that cannot log in yet. Throws Problem `database_roles_refused`. */
  async create(name: string): Promise<void> {
    await this.expectRights();
    const role = identifier(name);
    await this.#database.transaction(async (transaction) => {
      const { rows } = await transaction.query<{ fleet: string }>('SELECT current_user::text AS fleet');
      const { fleet } = rows[0] as { readonly fleet: string };
      await asLogin(transaction);
      await transaction.query(`CREATE ROLE ${role} NOLOGIN IN ROLE ${identifier(fleet)}`);
      await transaction.query(`ALTER ROLE ${role} SET role TO ${literal(fleet)}`);
    });
  }

  /** `verifier`: as `isPasswordVerifier` has it. */
  async enable(name: string, verifier: string): Promise<void> {
    if (!isPasswordVerifier(verifier)) throw new RangeError('expected a verifier of SCRAM-SHA-256');
    await this.#alone(`ALTER ROLE ${identifier(name)} LOGIN PASSWORD ${literal(verifier)}`);
  }

  /** It cannot log in any more, its connections are ended, and it is dropped, as far as this one has the right. */
  async remove(name: string): Promise<RemovedRole> {
    const role = identifier(name);
    const { rows } = await this.#database.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [name]);
    if (rows.length === 0) return { role: 'dropped', connections: 'ended', sql: [] };
    const disable = `ALTER ROLE ${role} NOLOGIN`;
    const end = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ${literal(name)}`;
    const drop = `DROP ROLE ${role}`;
    const isDisabled = await this.#tried(disable);
    const isEnded = await this.#tried(end);
    const isDropped = isDisabled && (await this.#tried(drop));
    return {
      role: isDropped ? 'dropped' : isDisabled ? 'disabled' : 'kept',
      connections: isEnded ? 'ended' : 'kept',
      sql: [...(isDisabled ? [] : [disable]), ...(isEnded ? [] : [end]), ...(isDropped ? [] : [drop])],
    };
  }

  /** False: this role lacks the right, or something depends on the other one. */
  async #tried(sql: string): Promise<boolean> {
    try {
      await this.#alone(sql);
      return true;
    } catch (error) {
      if (LACKS_RIGHT.test(sqlstateOf(error))) return false;
      throw error;
    }
  }

  async #alone(sql: string): Promise<void> {
    await this.#database.transaction(async (transaction) => {
      await asLogin(transaction);
      await transaction.query(sql);
    });
  }
}

/** Rights of the role that logged in, where it acts as the fleet's. */
async function asLogin(transaction: PostgresTransaction): Promise<void> {
  await transaction.query('SET LOCAL ROLE NONE');
}

function refusal({ login, fleet, version, creates, administers }: Rights): Problem {
  const sql = creates ? [] : [`ALTER ROLE ${identifier(login)} CREATEROLE`];
  if (version >= ADMIN_NEEDED && !administers) {
    // A role cannot administer itself.
    sql.push(
      login === fleet
        ? `a login role of its own for this node, which administers ${identifier(fleet)}: docs/grow-beyond-one-machine.md`
        : `GRANT ${identifier(fleet)} TO ${identifier(login)} WITH ADMIN OPTION`,
    );
  }
  return new Problem('database_roles_refused', {
    detail: `the role ${login} of this node may make no roles for others; a superuser has to run: ${sql.join('; ')}`,
    reason: `${INSUFFICIENT_PRIVILEGE}: expected CREATEROLE of ${login}`,
  });
}

function identifier(name: string): string {
  if (name === '' || name.includes('\0')) throw new RangeError('expected the name of a role');
  return `"${name.replaceAll('"', '""')}"`;
}

function literal(text: string): string {
  if (/[\0\\]/.test(text)) throw new RangeError('expected a text without NUL and backslash');
  return `'${text.replaceAll("'", "''")}'`;
}
