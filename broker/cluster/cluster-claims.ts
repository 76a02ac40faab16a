/**
 * Which node has the state of a client id. A node that has it gives it up by itself when another node asks, after the connection has ended
 * and everything is stored; what a dead node had is taken from it after its writes were fenced off. So at most one node has it at any time.
 */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Claimant } from '../keeper/sessions.ts';
import type { ClaimBatches } from './claim-batches.ts';
import type { ClaimRequest, ClaimRequests } from './claim-requests.ts';
import type { ClusterNodes, KnownNode } from './cluster-nodes.ts';
import type { NodeMessage } from './node-message.ts';
import type { Outbox } from './outbox.ts';
import type { ClusterCommits } from './session-changes.ts';

export type HandedOver = Extract<NodeMessage, { readonly kind: 'handed over' }>;

export interface ClusterClaimsOptions {
  readonly batches: Pick<ClaimBatches, 'claim' | 'nodeOf'>;
  readonly requests: Pick<ClaimRequests, 'ask' | 'isOpen' | 'nextNumber' | 'withdraw'>;
  readonly nodes: ClusterNodes;
  readonly outbox: Outbox;
  readonly commits: ClusterCommits;
  /** Takes over everything of a dead node. Resolves when it is this node's, or another's. */
  readonly adopt: (dead: KnownNode) => Promise<void>;
  /** Resolves when no dead node is being taken over: until then its sessions are not loaded. */
  readonly adopted: () => Promise<void>;
  /** The session is this node's: what its former node forwards from now on is for it. */
  readonly arriving: (clientId: string) => void;
  /** Reads the rows of a session, which are complete, and this node's. What it resolves with makes them a session. */
  readonly load: (clientId: string) => Promise<() => Promise<void>>;
  readonly log: Logger;
}

/** How long a node may take to give up a session before it is asked again, in ms. */
const ANSWER_MS = 500;
/** How long a connection waits for the state of its client id, in ms. */
const PATIENCE_MS = 10_000;
const LEFT_PER_CALL = 1_000;
/** Before the rows of a session are read again, in ms. */
const TAKE_AGAIN_MS = 1_000;
/** How long an answer may take that no connection waits for any more, in ms. */
const LATE_MS = 60_000;

/** A request whose answer is not applied yet. */
interface Asked {
  readonly number: number;
  /** Ends the wait of the connection that asks; undefined: none waits any more. */
  wake: (() => void) | undefined;
  answer: HandedOver | undefined;
}

/** What is said of a session that this node has given up. */
export type Given = Pick<HandedOver, 'isStored' | 'sequence' | 'from'>;

export class ClusterClaims {
  readonly #options: ClusterClaimsOptions;
  readonly #owned = new Set<string>();
  /** Client ids whose claim is being given up with the next commit. */
  readonly #leaving = new Set<string>();
  /** Client ids that are being given to another node. */
  readonly #handingOver = new Set<string>();
  readonly #asked = new Map<string, Asked>();
  readonly #turns = new Map<string, Promise<unknown>>();
  /** Client ids whose rows are to be read again. */
  readonly #takenLater = new Set<string>();

  constructor(options: ClusterClaimsOptions) {
    this.#options = options;
  }

  has(clientId: string): boolean {
    return this.#owned.has(clientId);
  }

  /** The node that has the client id, whether it is connected or not. */
  async nodeOf(clientId: string): Promise<string | undefined> {
    if (this.#owned.has(clientId)) return this.#options.nodes.name;
    return this.#options.batches.nodeOf(clientId);
  }

  /** What was claimed by an earlier process of this node, or by a node that is dead. */
  owned(clientIds: Iterable<string>): void {
    for (const clientId of clientIds) this.#owned.add(clientId);
  }

  /** Their claims are this node's, and their rows could not be read. */
  takeLater(clientIds: Iterable<string>): void {
    for (const clientId of clientIds) this.#takeLater(clientId);
  }

  /** Resolves when this node has the client id; with what its former node said of its connection. Throws Problem `unavailable`. */
  async own(clientId: string, claimant?: Claimant): Promise<HandedOver | undefined> {
    if (this.#owned.has(clientId) && !this.#handingOver.has(clientId)) return undefined;
    return this.inTurn(clientId, () => this.#own(clientId, claimant));
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

  /** Gives up claims of client ids that are not connected and have no state any more; a limited number per call. */
  leaveUnused(isUsed: (clientId: string) => boolean): void {
    let left = 0;
    for (const clientId of this.#owned) {
      if (this.#turns.has(clientId) || isUsed(clientId)) continue;
      this.leave(clientId);
      left += 1;
      if (left === LEFT_PER_CALL) return;
    }
  }

  /**
   * Gives a client id to the node that asks for it, after `end` has ended its connection; what that resolves with forgets its state, in the turn
   * of the answer: messages that are forwarded come after it. What is left of the state, the claim and the answer are one commit, which
   * begins at once.
   */
  async handOver(request: ClaimRequest, end: () => Promise<() => Given>): Promise<void> {
    const { clientId, node: to, number } = request;
    const waits = this.#turns.has(clientId);
    await this.inTurn(clientId, async () => {
      const { commits, nodes, outbox, requests, adopted } = this.#options;
      // The other node may have got the session another way, and have given it to this one.
      if (waits && !(await requests.isOpen(request))) return;
      if (this.#leaving.has(clientId)) await commits.durable();
      if (!this.#owned.has(clientId)) {
        await adopted();
        await this.#takeUnknown(clientId);
      }
      this.#handingOver.add(clientId);
      try {
        const isGiven = this.#owned.has(clientId);
        const give = isGiven ? await end() : () => NOTHING_GIVEN;
        const given = give();
        if (this.#owned.delete(clientId)) {
          commits.add({ name: 'moveClaim', values: [to, clientId, nodes.name] }, clientId.length + 100);
        }
        commits.add({ name: 'dropClaimRequest', values: [clientId, to, number] }, clientId.length + 100);
        outbox.send([to], { kind: 'handed over', clientId, request: number, isGiven, ...given });
        const stored = commits.durable();
        void commits.flush();
        await stored;
      } finally {
        this.#handingOver.delete(clientId);
      }
    });
  }

  /** An answer of its former node. Applied in the order of that node's messages: those that it forwards follow. */
  received(handedOver: HandedOver): void {
    const { clientId, request, isGiven, isStored } = handedOver;
    const asked = this.#asked.get(clientId);
    if (asked?.number !== request) return;
    if (isGiven && isStored) this.#options.arriving(clientId);
    asked.answer = handedOver;
    if (asked.wake !== undefined) asked.wake();
    else this.#receivedLate(handedOver);
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

  async #own(clientId: string, claimant: Claimant | undefined): Promise<HandedOver | undefined> {
    const { batches, nodes, commits, adopt, adopted } = this.#options;
    const until = performance.now() + PATIENCE_MS;
    try {
      while (!this.#owned.has(clientId)) {
        const answer = this.#takeAnswer(clientId);
        if (answer?.isGiven === true) {
          // Only this node can give it to another one from now on, and does so in its turn.
          await this.#take(clientId, answer.isStored);
          return answer;
        }
        // Its client may be connected to another node by now, and that session is not to end.
        if (claimant?.isGivenUp === true) throw new Problem('unavailable', { reason: 'the connection has ended' });
        if (performance.now() > until) {
          throw new Problem('unavailable', { reason: 'the node that has the session did not give it up' });
        }
        if (this.#leaving.has(clientId)) await commits.durable();
        const found = await batches.claim(clientId);
        if (found === undefined) continue;
        if (found.isNew) this.#owned.add(clientId);
        else if (found.node === nodes.name) {
          await adopted();
          // Claimed by this process, without being told so: the connection to the database was lost. Or the answer came meanwhile.
          const isUnknown = !this.#owned.has(clientId) && this.#asked.get(clientId)?.answer === undefined;
          if (isUnknown) await this.#take(clientId);
        } else {
          const node = nodes.find(found.node);
          if (node?.isAlive === true) await this.#ask(clientId, found.node, claimant);
          else if (node === undefined) await nodes.look();
          else await adopt(node);
        }
      }
      return undefined;
    } finally {
      this.#stopAsking(clientId, claimant);
    }
  }

  /** Resolves when there is an answer, when none came in time, or when the connection is given up. */
  async #ask(clientId: string, owner: string, claimant: Claimant | undefined): Promise<void> {
    const { requests } = this.#options;
    if (claimant?.isGivenUp === true) return;
    const { promise: woken, resolve: wake } = Promise.withResolvers<void>();
    const asked = this.#asked.get(clientId) ?? { number: requests.nextNumber(), wake, answer: undefined };
    asked.wake = wake;
    this.#asked.set(clientId, asked);
    if (claimant !== undefined) claimant.onGivenUp = wake;
    await requests.ask(clientId, owner, asked.number);
    const timer = setTimeout(wake, ANSWER_MS).unref();
    await woken;
    clearTimeout(timer);
  }

  /** An answer is applied once. */
  #takeAnswer(clientId: string): HandedOver | undefined {
    const answer = this.#asked.get(clientId)?.answer;
    if (answer !== undefined) this.#asked.delete(clientId);
    return answer;
  }

  /** The answer may still come, or may have come just now. */
  #stopAsking(clientId: string, claimant: Claimant | undefined): void {
    if (claimant !== undefined) claimant.onGivenUp = undefined;
    const asked = this.#asked.get(clientId);
    if (asked?.wake === undefined) return;
    asked.wake = undefined;
    if (asked.answer !== undefined) {
      this.#receivedLate(asked.answer);
      return;
    }
    void this.#options.requests.withdraw(clientId);
    setTimeout(() => {
      if (this.#asked.get(clientId) === asked && asked.wake === undefined) this.#asked.delete(clientId);
    }, LATE_MS).unref();
  }

  /** What its former node forwards for the session must find it here. */
  #receivedLate({ clientId, request, isGiven, isStored }: HandedOver): void {
    if (this.#asked.get(clientId)?.number === request) this.#asked.delete(clientId);
    if (!isGiven) return;
    this.inTurn(clientId, async () => {
      // A connection that came meanwhile has found the claim by itself, and may use it.
      if (this.#owned.has(clientId)) return;
      await this.#take(clientId, isStored);
      if (!isStored) this.leave(clientId);
    }).catch((error: unknown) => this.#options.log.warn({ err: error }, 'a session that came late was not loaded'));
  }

  /** A claim of this node that it was not told of. */
  async #takeUnknown(clientId: string): Promise<void> {
    const { batches, nodes } = this.#options;
    if (this.#owned.has(clientId) || (await batches.nodeOf(clientId)) !== nodes.name) return;
    await this.#take(clientId);
  }

  /** The claim is this node's, and its state is not here yet. */
  async #take(clientId: string, isStored = true): Promise<void> {
    const { arriving, load, requests } = this.#options;
    // An answer that comes later says nothing of now.
    if (this.#asked.delete(clientId)) void requests.withdraw(clientId);
    if (!isStored) {
      this.#owned.add(clientId);
      return;
    }
    arriving(clientId);
    const take = await load(clientId).catch((error: unknown) => {
      this.#takeLater(clientId);
      throw error;
    });
    await take().finally(() => this.#owned.add(clientId));
  }

  /** Messages for it wait for its rows, also when its client does not come back here. */
  #takeLater(clientId: string): void {
    if (this.#takenLater.has(clientId)) return;
    this.#takenLater.add(clientId);
    setTimeout(() => {
      this.#takenLater.delete(clientId);
      this.inTurn(clientId, () => this.#takeUnknown(clientId)).catch(() => this.#takeLater(clientId));
    }, TAKE_AGAIN_MS).unref();
  }
}

const NOTHING_GIVEN: Given = { isStored: false, sequence: 0, from: undefined };
