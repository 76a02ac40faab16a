/**
 * Which node has the state of a client id. A node that has it gives it up by itself when another node asks, after the connection has ended
 * and everything is stored; what a dead node had is taken from it after its writes were fenced off. So at most one node has it at any time.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import type { ClusterNodes, KnownNode } from './cluster-nodes.ts';
import type { NodeMessage } from './node-message.ts';
import type { Outbox } from './outbox.ts';
import type { ClusterCommits } from './session-changes.ts';

export type HandedOver = Extract<NodeMessage, { readonly kind: 'handed over' }>;

export interface ClusterClaimsOptions {
  readonly database: PostgresDatabase;
  readonly nodes: ClusterNodes;
  readonly outbox: Outbox;
  readonly commits: ClusterCommits;
  /** Takes over everything of a dead node. Resolves when it is this node's, or another's. */
  readonly adopt: (dead: KnownNode) => Promise<void>;
  /** Resolves when no dead node is being taken over: until then its sessions are not loaded. */
  readonly adopted: () => Promise<void>;
  /** The rows of a session are complete, and are this node's. */
  readonly load: (clientId: string) => Promise<void>;
}

const CLAIM = {
  name: 'sessions claim',
  text: 'INSERT INTO session_claims (client_id, node, epoch) VALUES ($1, $2, 1) ON CONFLICT (client_id) DO NOTHING',
};
const FIND = { name: 'sessions find claim', text: 'SELECT node FROM session_claims WHERE client_id = $1' };

/** How long a node may take to give up a session before it is asked again, in ms. */
const ANSWER_MS = 500;
/** How long a connection waits for the state of its client id, in ms. */
const PATIENCE_MS = 10_000;

export class ClusterClaims {
  readonly #options: ClusterClaimsOptions;
  readonly #owned = new Set<string>();
  /** Client ids whose claim is being given up with the next commit. */
  readonly #leaving = new Set<string>();
  /** Client ids that are being given to another node. */
  readonly #handingOver = new Set<string>();
  readonly #handedOver = new Map<string, (handedOver: HandedOver) => void>();
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(options: ClusterClaimsOptions) {
    this.#options = options;
  }

  has(clientId: string): boolean {
    return this.#owned.has(clientId);
  }

  /** What was claimed by an earlier process of this node, or by a node that is dead. */
  owned(clientIds: Iterable<string>): void {
    for (const clientId of clientIds) this.#owned.add(clientId);
  }

  /** Resolves when this node has the client id; with what its former node said of its connection. */
  async own(clientId: string): Promise<HandedOver | undefined> {
    if (this.#owned.has(clientId) && !this.#handingOver.has(clientId)) return undefined;
    return this.inTurn(clientId, () => this.#own(clientId));
  }

  /** The session has ended with its connection: any node may have the next one. */
  leave(clientId: string): void {
    const { commits, nodes } = this.#options;
    // A session that ends because another node gets it leaves its claim to that node.
    if (this.#handingOver.has(clientId) || !this.#owned.delete(clientId)) return;
    this.#leaving.add(clientId);
    commits.add({ name: 'dropClaim', values: [clientId, nodes.name] }, clientId.length + 100);
    const left = () => void this.#leaving.delete(clientId);
    commits.durable().then(left, left);
  }

  /** Gives a client id to another node, after `give` has ended its connection and forgotten its state. */
  async handOver(clientId: string, to: string, give: () => Promise<HandedOver>): Promise<void> {
    await this.inTurn(clientId, async () => {
      const { commits, nodes, outbox, adopted } = this.#options;
      if (this.#leaving.has(clientId)) return; // The other node looks again where it is.
      if (!this.#owned.has(clientId)) await adopted();
      this.#handingOver.add(clientId);
      try {
        const handedOver = this.#owned.has(clientId) ? await give() : nothingToGive(clientId);
        this.#owned.delete(clientId);
        commits.add({ name: 'moveClaim', values: [to, clientId, nodes.name] }, clientId.length + 100);
        outbox.send([to], handedOver);
        await commits.durable();
      } finally {
        this.#handingOver.delete(clientId);
      }
    });
  }

  /** A message of its former node. */
  received(handedOver: HandedOver): void {
    this.#handedOver.get(handedOver.clientId)?.(handedOver);
  }

  /** Claims and hand-overs of one client id come one after the other. */
  async inTurn<Value>(clientId: string, action: () => Promise<Value>): Promise<Value> {
    const earlier = this.#turns.get(clientId);
    const running = earlier === undefined ? action() : earlier.then(action, action);
    this.#turns.set(clientId, running);
    try {
      return await running;
    } finally {
      if (this.#turns.get(clientId) === running) this.#turns.delete(clientId);
    }
  }

  async #own(clientId: string): Promise<HandedOver | undefined> {
    const { database, nodes, commits, adopt } = this.#options;
    const until = performance.now() + PATIENCE_MS;
    while (!this.#owned.has(clientId)) {
      if (performance.now() > until) {
        throw new Problem('unavailable', { reason: 'the node that has the session did not give it up' });
      }
      if (this.#leaving.has(clientId)) await commits.durable();
      const { count } = await database.execute(CLAIM, [clientId, nodes.name]);
      if (count === 1) {
        this.#owned.add(clientId);
        return undefined;
      }
      const { rows } = await database.query<{ node: string }>(FIND, [clientId]);
      const owner = rows[0]?.node;
      if (owner === undefined) continue;
      if (owner === nodes.name) {
        await this.#options.adopted();
        if (this.#owned.has(clientId)) return undefined;
        // Claimed by this process, without being told so: the connection to the database was lost.
        this.#owned.add(clientId);
        await this.#options.load(clientId);
        return undefined;
      }
      const node = nodes.find(owner);
      if (node?.isAlive === true) {
        const handedOver = await this.#ask(clientId, owner);
        if (handedOver !== undefined) return handedOver;
      } else if (node === undefined) await nodes.look();
      else await adopt(node);
    }
    return undefined;
  }

  async #ask(clientId: string, owner: string): Promise<HandedOver | undefined> {
    const { database, nodes, outbox, commits, load } = this.#options;
    const answer = Promise.withResolvers<HandedOver>();
    this.#handedOver.set(clientId, answer.resolve);
    try {
      outbox.send([owner], { kind: 'take over', clientId });
      await commits.durable();
      const handedOver = await Promise.race([answer.promise, delay(ANSWER_MS, undefined, { ref: false })]);
      if (handedOver === undefined) return undefined;
      // An answer to an earlier request says nothing of now.
      const { rows } = await database.query<{ node: string }>(FIND, [clientId]);
      if (rows[0]?.node !== nodes.name) return undefined;
      this.#owned.add(clientId);
      await load(clientId);
      return handedOver;
    } finally {
      this.#handedOver.delete(clientId);
    }
  }
}

/** For a claim that this node does not know of: it was made, and the connection to the database was lost before it was confirmed. */
function nothingToGive(clientId: string): HandedOver {
  return { kind: 'handed over', clientId, sequence: 0, from: undefined };
}
