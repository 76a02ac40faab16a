/**
 * Asks other nodes for sessions that they have, and hears what they ask this one for. A request is a row that is not durable, followed by a
 * wake: it decides nothing, and a node that gets no answer asks again. So a takeover waits for no commit before its owner knows of it.
 */

import type { Logger } from 'pino';
import type { Wakes } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import type { ClusterNodes } from './cluster-nodes.ts';

export interface ClaimRequest {
  readonly clientId: string;
  /** The node that asks. */
  readonly node: string;
  /** Greater than those of all earlier requests of this node: the answer repeats it. */
  readonly number: number;
}

export interface ClaimRequestsOptions {
  readonly database: PostgresDatabase;
  readonly nodes: ClusterNodes;
  readonly wakes: Wakes;
  /** Resolves when the request is answered, and its row is removed with that commit. */
  readonly handOver: (request: ClaimRequest) => Promise<void>;
  readonly log: Logger;
}

interface RequestRow {
  readonly client_id: string;
  readonly node: string;
  readonly number: number;
}

const ASK = {
  name: 'sessions ask for claim',
  text: `INSERT INTO session_requests (client_id, node, owner, number) VALUES ($1, $2, $3, $4)
    ON CONFLICT (client_id, node) DO UPDATE SET owner = EXCLUDED.owner, number = EXCLUDED.number`,
};
const WITHDRAW = {
  name: 'sessions withdraw request',
  text: 'DELETE FROM session_requests WHERE client_id = $1 AND node = $2',
};
const IS_OPEN = {
  name: 'sessions look for request',
  text: 'SELECT 1 FROM session_requests WHERE client_id = $1 AND node = $2 AND number = $3',
};
const READ = {
  name: 'sessions read requests',
  text: 'SELECT client_id, node, number FROM session_requests WHERE owner = $1',
};

/** Numbers of one process: its epoch comes first, so that they grow from process to process. */
const PER_EPOCH = 2 ** 36;

export class ClaimRequests {
  readonly #options: ClaimRequestsOptions;
  #last: number;
  /** That are being answered. */
  readonly #running = new Set<string>();
  /** That were answered since the last read began, which may have found them still. */
  readonly #answered = new Set<string>();
  #isReading = false;
  #readAgain = false;
  #stop: (() => void) | undefined;

  constructor(options: ClaimRequestsOptions) {
    this.#options = options;
    this.#last = options.nodes.epoch * PER_EPOCH;
  }

  /** What an earlier process of this node has asked for, and was asked for, is void. */
  async open(): Promise<void> {
    const { database, nodes, wakes } = this.#options;
    await database.execute('DELETE FROM session_requests WHERE owner = $1 OR node = $1', [nodes.name]);
    this.#stop = wakes.onWake(requestsOf(nodes.name, nodes) as string, () => void this.#read());
    void this.#read();
  }

  nextNumber(): number {
    this.#last += 1;
    return this.#last;
  }

  /** Again with the same number until there is an answer. */
  async ask(clientId: string, owner: string, number: number): Promise<void> {
    const { database, nodes, wakes } = this.#options;
    await database.transaction((transaction) => transaction.query(ASK, [clientId, nodes.name, owner, number]), {
      mayBeLost: true,
    });
    const channel = requestsOf(owner, nodes);
    if (channel !== undefined) wakes.wake(channel);
  }

  /** Whether the node still asks. */
  async isOpen({ clientId, node, number }: ClaimRequest): Promise<boolean> {
    return (await this.#options.database.query(IS_OPEN, [clientId, node, number])).count > 0;
  }

  /** Nobody has answered. */
  async withdraw(clientId: string): Promise<void> {
    const { database, nodes, log } = this.#options;
    await database
      .transaction((transaction) => transaction.query(WITHDRAW, [clientId, nodes.name]), { mayBeLost: true })
      .catch((error: unknown) => log.debug({ err: error }, 'a request for a session was not withdrawn'));
  }

  close(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  async #read(): Promise<void> {
    this.#readAgain = true;
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      while (this.#readAgain && this.#stop !== undefined) {
        this.#readAgain = false;
        await this.#readOnce();
      }
    } catch (error) {
      this.#options.log.warn({ err: error }, 'requests for sessions could not be read');
    } finally {
      this.#isReading = false;
    }
  }

  async #readOnce(): Promise<void> {
    const { database, nodes, handOver, log } = this.#options;
    this.#answered.clear();
    const { rows } = await database.query<RequestRow>(READ, [nodes.name]);
    for (const { client_id: clientId, node, number } of rows) {
      const name = `${node} ${number} ${clientId}`;
      if (this.#running.has(name) || this.#answered.has(name)) continue;
      this.#running.add(name);
      handOver({ clientId, node, number })
        .catch((error: unknown) => log.warn({ err: error }, 'a session was not handed over'))
        .finally(() => {
          this.#running.delete(name);
          this.#answered.add(name);
        });
    }
  }
}

/** The channel that wakes a node for what others ask it for. */
function requestsOf(node: string, nodes: ClusterNodes): string | undefined {
  const number = nodes.find(node)?.number;
  return number === undefined ? undefined : `requests.${number}`;
}
