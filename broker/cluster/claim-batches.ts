/** Claims client ids for this node: those that are wanted at the same time with one statement, and so with one commit. */

import { BatchedQuestions } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';

export interface FoundClaim {
  readonly node: string;
  /** This claim was made now. */
  readonly isNew: boolean;
}

interface ClaimRow {
  readonly client_id: string;
  readonly node: string;
  readonly is_new: boolean;
}

/** In the order of the ids: two nodes that want several of the same never wait for each other. */
const CLAIM = {
  name: 'sessions claim',
  text: `WITH claimed AS (
      INSERT INTO session_claims (client_id, node, epoch)
      SELECT client_id, $2, 1 FROM unnest($1::text[]) AS wanted (client_id) ORDER BY client_id
      ON CONFLICT (client_id) DO NOTHING RETURNING client_id, node
    )
    SELECT client_id, node, true AS is_new FROM claimed
    UNION ALL SELECT client_id, node, false FROM session_claims WHERE client_id = ANY($1::text[])`,
};

const FIND = { name: 'sessions find claim', text: 'SELECT node FROM session_claims WHERE client_id = $1' };

export class ClaimBatches {
  readonly #database: PostgresDatabase;
  readonly #node: string;
  readonly #claims = new BatchedQuestions((clientIds) => this.#claim(clientIds));

  constructor(database: PostgresDatabase, node: string) {
    this.#database = database;
    this.#node = node;
  }

  /** Undefined: it was another node's, which has given it up meanwhile, or another node's is not confirmed yet. Throws what the database throws. */
  claim(clientId: string): Promise<FoundClaim | undefined> {
    return this.#claims.ask(clientId);
  }

  /** The node that has it, as far as it is confirmed; undefined: none has. */
  async nodeOf(clientId: string): Promise<string | undefined> {
    const { rows } = await this.#database.query<{ readonly node: string }>(FIND, [clientId]);
    return rows[0]?.node;
  }

  async #claim(clientIds: readonly string[]): Promise<ReadonlyMap<string, FoundClaim>> {
    const { rows } = await this.#database.execute<ClaimRow>(CLAIM, [clientIds, this.#node]);
    const found = new Map<string, FoundClaim>();
    // One that was given up while the statement ran is found as it was, besides the claim that replaced it.
    for (const { client_id: clientId, node, is_new: isNew } of rows) {
      if (isNew || !found.has(clientId)) found.set(clientId, { node, isNew });
    }
    return found;
  }
}
