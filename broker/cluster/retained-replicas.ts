/**
 * Retained messages, of which every node has all. Those of one topic that several nodes have written lately may come in another order than
 * that of their commits: then the row decides, which is the one that was committed last. Subscribers get what each node sends in its order.
 */

import { isServerTopic, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { BatchedQuestions, type Wakes } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import { type MessagePersistence, REMOVAL } from '../keeper/message-persistence.ts';
import type { Message } from '../mqtt/message.ts';
import { SERVER_OWNER } from '../session-store/memory-pool.ts';
import type { RetainedRow } from '../session-store/session-rows.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import { hasExpired, messageOf } from '../session-store/stored-message.ts';
import type { Missed } from './absent-nodes.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import { encodeNodeMessage, type Origin } from './node-message.ts';
import type { Outbox } from './outbox.ts';
import { type ClusterCommits, inboxOf } from './session-changes.ts';
import { readRetainedRows } from './session-rows.ts';

export interface RetainedReplicasOptions {
  readonly database: PostgresDatabase;
  readonly nodes: ClusterNodes;
  readonly commits: ClusterCommits;
  readonly wakes: Wakes;
  readonly store: Pick<SessionStore, 'retainedMatching' | 'retainedOwners'>;
  readonly persistence: Pick<MessagePersistence, 'mayRetain' | 'replicate' | 'ownerOf'>;
  readonly outbox: Pick<Outbox, 'send'>;
  /** The message is stored and retained, and this node has to queue and to deliver it. Other nodes know it by `origin`. */
  readonly replaced: (message: Message, publisher: string, origin: Origin) => Promise<void>;
  readonly nextNumber: () => number;
  readonly isRevoked: (owner: string) => boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** Who has written a topic lately. */
interface Written {
  by: string;
  /** More than one node. */
  isContested: boolean;
  /** Writes of this node, which are not stored at once. */
  own: number;
  until: number;
  isReading: boolean;
  /** Something came while the row was read. */
  mustReadAgain: boolean;
}

/** No message between nodes takes so long, in ms. */
const REMEMBERED_MS = 60_000;
const MOST_REMEMBERED = 100_000;
/** Of nodes that replace the same message at the same time each try lets one through. */
const MOST_TRIES = 20;
/** Numbers of one process: its epoch comes first, so that they grow from process to process. */
const PER_EPOCH = 2 ** 36;

/** Replaces what was read, and nothing else; without a row `$4` is null, and a row that came meanwhile stays. */
const REPLACE = {
  name: 'sessions replace retained',
  text: `INSERT INTO session_retained (topic, owner, payload, qos, properties, expires_at, publisher)
    VALUES ($1, $2, $3, 1, NULL, NULL, NULL)
    ON CONFLICT (topic) DO UPDATE SET owner = EXCLUDED.owner, payload = EXCLUDED.payload, qos = EXCLUDED.qos,
      properties = NULL, expires_at = NULL, publisher = NULL
    WHERE session_retained.payload = $4`,
};
const TELL = {
  name: 'sessions tell replaced',
  text: `INSERT INTO node_messages (to_node, from_node, number, about, payload)
    SELECT to_node, $2, $3, $4, $5 FROM unnest($1::text[]) AS others (to_node)`,
};

export class RetainedReplicas {
  readonly #options: RetainedReplicasOptions;
  readonly #written = new Map<string, Written>();
  /** Topics whose row could not be read. */
  readonly #unread = new Set<string>();
  readonly #rows: BatchedQuestions<RetainedRow>;
  #turn: Promise<unknown> = Promise.resolve();
  #last: number;

  constructor(options: RetainedReplicasOptions) {
    const { database, nodes } = options;
    this.#options = options;
    this.#last = nodes.epoch * PER_EPOCH;
    this.#rows = new BatchedQuestions(async (topics) => {
      const rows = await readRetainedRows(database, topics);
      return new Map(rows.map((row) => [row.topic, row]));
    });
  }

  /** This node has retained a message of the topic, or removed it, with the next commit. */
  wrote(topic: string): void {
    this.#note(topic, this.#options.nodes.name).own += 1;
  }

  /** What another node has written was applied. */
  received(topic: string, from: string): void {
    const written = this.#note(topic, from);
    if (written.isContested) void this.#read(topic, written);
  }

  /**
   * Replaces the message of a topic by what `next` returns for the stored one. No other message comes between, of no node. Resolves when it
   * is stored, and delivered to the subscribers of this node. Throws what `next` throws, and Problem `body_too_large` or `unavailable`.
   */
  async replace(topic: string, publisher: string, next: (present: Buffer | undefined) => Buffer): Promise<void> {
    // The numbers of what the other nodes are told have the order of the commits.
    const replacing = this.#turn.then(() => this.#replace(topic, publisher, next));
    this.#turn = replacing.catch(() => {});
    const { delivered } = await replacing;
    await delivered;
  }

  /** Sends a node what this one has retained or removed meanwhile; all that there is if that is not known. */
  tellMissed(node: string, { topics, isAll }: Pick<Missed, 'topics' | 'isAll'>): void {
    const { store, persistence, outbox } = this.#options;
    for (const topic of isAll ? [...store.retainedOwners()].map(({ topic }) => topic) : topics) {
      const [message = { ...REMOVAL, topic }] = store.retainedMatching(topic);
      outbox.send([node], { kind: 'message', message, owner: persistence.ownerOf(topic) ?? '' });
    }
  }

  /** Reads again what could not be read, and forgets what was written long ago. */
  look(): void {
    for (const topic of this.#unread) {
      this.#unread.delete(topic);
      const written = this.#written.get(topic);
      if (written !== undefined) void this.#read(topic, written);
    }
    const now = performance.now();
    for (const [topic, { until, isReading }] of this.#written) {
      if (until > now) break;
      if (!isReading && !this.#unread.has(topic)) this.#written.delete(topic);
    }
  }

  #note(topic: string, by: string): Written {
    const until = performance.now() + REMEMBERED_MS;
    const known = this.#written.get(topic);
    if (known === undefined) {
      const written = { by, isContested: false, own: 0, until, isReading: false, mustReadAgain: false };
      this.#written.set(topic, written);
      if (this.#written.size > MOST_REMEMBERED) this.#forgetOldest();
      return written;
    }
    this.#written.delete(topic); // They are in the order of their time.
    this.#written.set(topic, Object.assign(known, { until, by, isContested: known.isContested || known.by !== by }));
    return known;
  }

  #forgetOldest(): void {
    for (const topic of this.#written.keys()) {
      this.#written.delete(topic);
      return;
    }
  }

  async #read(topic: string, written: Written): Promise<void> {
    written.mustReadAgain = true;
    if (written.isReading) return;
    const { commits, log } = this.#options;
    written.isReading = true;
    try {
      while (written.mustReadAgain) {
        written.mustReadAgain = false;
        const { own } = written;
        await commits.durable();
        const row = await this.#rows.ask(topic);
        // What this node has written since is not in the row.
        if (written.own === own) this.#apply(topic, row);
        else written.mustReadAgain = true;
      }
    } catch (error) {
      log.debug({ err: error, topic }, 'a retained message could not be read');
      this.#unread.add(topic);
    } finally {
      written.isReading = false;
    }
  }

  #apply(topic: string, row: RetainedRow | undefined): void {
    const { persistence, nextNumber, isRevoked } = this.#options;
    if (row === undefined || isRevoked(row.owner ?? '')) persistence.replicate({ ...REMOVAL, topic }, '');
    else persistence.replicate(messageOf(row, true, nextNumber()), row.owner ?? '');
  }

  async #replace(
    topic: string,
    publisher: string,
    next: (present: Buffer | undefined) => Buffer,
  ): Promise<{ readonly delivered: Promise<void> }> {
    const { commits, nextNumber, now, persistence, replaced } = this.#options;
    const owner = isServerTopic(topic) ? SERVER_OWNER : publisher;
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      await commits.durable();
      const row = await this.#rows.ask(topic);
      const present = row && messageOf(row, true, 0);
      const payload = next(present === undefined || hasExpired(present, now()) ? undefined : present.payload);
      if (!persistence.mayRetain(topic, payload.length, publisher)) {
        throw new Problem('body_too_large', {
          detail: 'expected less than the retained messages of a device may hold',
        });
      }
      const about = { topic, payload, qos: 1, retain: true, properties: undefined, expiresAt: undefined } as const;
      const message: Message = { ...about, clientId: undefined, number: nextNumber() };
      const origin = await this.#store(message, owner, publisher, row?.payload);
      if (origin === undefined) continue;
      const delivered = replaced(message, publisher, origin);
      delivered.catch(() => {}); // Its caller has it.
      return { delivered };
    }
    throw new Problem('unavailable', { detail: 'others replace the same message at the same time' });
  }

  /** The row and what tells the other nodes are one commit. Undefined: another message came between. */
  async #store(
    message: Message,
    owner: string,
    publisher: string,
    former: Buffer | undefined,
  ): Promise<Origin | undefined> {
    const { database, nodes, persistence, wakes } = this.#options;
    const { topic, payload } = message;
    const others = nodes.others().flatMap(({ name, isAlive }) => (isAlive ? [name] : []));
    this.#last += 1;
    const number = this.#last;
    const sent = encodeNodeMessage({ kind: 'message', message, owner: publisher });
    const origin = { node: `${nodes.name}/retained`, number };
    const written = this.#note(topic, nodes.name);
    const { own } = written;
    try {
      const isStored = await database.transaction(async (transaction) => {
        await nodes.fence(transaction);
        const { count } = await transaction.query(REPLACE, [topic, owner, payload, former ?? null]);
        if (count === 0) return false;
        // An order of its own: what the commits of this node send has other numbers.
        await transaction.query(TELL, [others, origin.node, number, sent.about, sent.payload]);
        return true;
      });
      if (!isStored) return undefined;
    } catch (error) {
      void this.#read(topic, written); // It may be stored all the same.
      throw error;
    }
    const mayBeOlder = written.own !== own; // This node has retained another one meanwhile, maybe with a later commit.
    written.own += 1; // A row that was read before is not that of now.
    persistence.replicate(message, owner);
    if (written.isContested || mayBeOlder) void this.#read(topic, written);
    for (const node of others) {
      const channel = inboxOf(node, nodes);
      if (channel !== undefined) wakes.wake(channel);
    }
    return origin;
  }
}
