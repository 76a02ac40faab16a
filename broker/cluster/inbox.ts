/**
 * Messages of other nodes for this one, applied in the order in which each node sent them, and each once: the cursor is stored in the same
 * commit as what a message changes. Also those for nodes that are dead, whose sessions this node has adopted.
 */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Wakes } from '../../storage/index.ts';
import type { PostgresDatabase } from '../../storage/postgres/index.ts';
import type { ClusterNodes } from './cluster-nodes.ts';
import { decodeNodeMessage, type NodeMessage } from './node-message.ts';
import { type ClusterCommits, inboxOf } from './session-changes.ts';

export interface InboxOptions {
  readonly database: PostgresDatabase;
  readonly nodes: ClusterNodes;
  readonly commits: ClusterCommits;
  readonly wakes: Wakes;
  readonly log: Logger;
  /** Another node sent something of a kind that this release does not know: this node must not go on. Called once, with Problem `node_outdated`. */
  readonly outdated: (problem: Problem) => void;
  /** Called in order, synchronously. */
  readonly apply: (message: NodeMessage, from: string, number: number, isAdopted: boolean) => void;
}

interface MessageRow {
  readonly from_node: string;
  readonly number: number;
  readonly about: string;
  readonly payload: Buffer;
}

/** Each has 256 KB at most, unless the limit of a packet was raised. */
const PER_READ = 250;
const READ = {
  name: 'sessions read messages',
  text: `SELECT from_node, number, about, payload FROM node_messages
    WHERE to_node = $1 ORDER BY from_node, number LIMIT ${PER_READ}`,
};
const CURSORS = {
  name: 'sessions read own cursors',
  text: 'SELECT from_node, number FROM node_cursors WHERE to_node = $1',
};

export class Inbox {
  readonly #options: InboxOptions;
  /** Applied numbers by the name of the inbox and the sender. */
  readonly #cursors = new Map<string, Map<string, number>>();
  #isReading = false;
  #readAgain = false;
  #stop: (() => void) | undefined;
  #isClosed = false;

  constructor(options: InboxOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { nodes, wakes } = this.#options;
    await this.#readCursors(nodes.name);
    this.#stop = wakes.onWake(inboxOf(nodes.name, nodes) as string, () => void this.read());
    void this.read();
  }

  /** Up to which number the messages of a node are applied. */
  appliedOf(from: string): number {
    return this.#cursors.get(this.#options.nodes.name)?.get(from) ?? 0;
  }

  async read(): Promise<void> {
    this.#readAgain = true;
    if (this.#isReading || this.#isClosed) return;
    this.#isReading = true;
    try {
      while (this.#readAgain && !this.#isClosed) {
        this.#readAgain = false;
        while ((await this.#readPiece(this.#options.nodes.name)) === PER_READ && !this.#isClosed);
      }
    } catch (error) {
      this.#options.log.warn({ err: error }, 'messages of other nodes could not be read');
    } finally {
      this.#isReading = false;
    }
  }

  /** What is left for a node that is dead and fenced off. */
  async adopt(node: string): Promise<void> {
    await this.#readCursors(node);
    while ((await this.#readPiece(node)) === PER_READ && !this.#isClosed);
  }

  close(): void {
    this.#isClosed = true;
    this.#stop?.();
  }

  async #readCursors(inbox: string): Promise<void> {
    const { rows } = await this.#options.database.query<{ from_node: string; number: number }>(CURSORS, [inbox]);
    this.#cursors.set(inbox, new Map(rows.map(({ from_node: from, number }) => [from, number])));
  }

  /** It may be a message that is acknowledged: it stays for a node that knows it, which adopts what this one had. */
  #stopAt({ from_node: from, number }: MessageRow): Problem {
    const problem = new Problem('node_outdated', {
      reason: `expected message ${number} of ${from} of a known kind`,
      hint: 'upgrade this node to the release of the others',
    });
    if (!this.#isClosed) this.#options.outdated(problem);
    this.#isClosed = true;
    return problem;
  }

  async #readPiece(inbox: string): Promise<number> {
    const { database, nodes, commits, apply } = this.#options;
    const { rows } = await database.query<MessageRow>(READ, [inbox]);
    const cursors = this.#cursors.get(inbox) as Map<string, number>;
    const advanced = new Set<string>();
    let unknown: MessageRow | undefined;
    let isFull = false;
    for (const row of rows) {
      const { from_node: from, number, about, payload } = row;
      const isNew = number > (cursors.get(from) ?? 0);
      const message = isNew ? decodeNodeMessage(about, payload) : undefined;
      if (isNew && message === undefined) {
        unknown = row;
        break;
      }
      if (isNew && !commits.hasRoomFor(1)) {
        isFull = true; // It could not be stored for a session, and is applied after what waits for the database.
        break;
      }
      advanced.add(from);
      // A row of a batch that was written again after it was applied, or one whose removal is not written yet.
      if (message === undefined) continue;
      cursors.set(from, number);
      apply(message, from, number, inbox !== nodes.name);
    }
    for (const from of advanced) {
      const number = cursors.get(from) ?? 0;
      commits.add({ name: 'putCursor', values: [inbox, from, number] }, inbox.length + from.length + 100);
      commits.add({ name: 'dropNodeMessages', values: [inbox, from, number] }, inbox.length + from.length + 100);
    }
    // Read again only after the removal is stored.
    if (advanced.size > 0 || isFull) await commits.durable();
    if (unknown !== undefined) throw this.#stopAt(unknown);
    return isFull ? PER_READ : rows.length;
  }
}
