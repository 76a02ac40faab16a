/**
 * Messages of other nodes for this one, applied in the order in which each node sent them, and each once: the cursor is stored in the same
 * commit as what a message changes. Also those for nodes that are dead, whose sessions this node has adopted.
 */

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
  /** Called in order, synchronously. */
  readonly apply: (message: NodeMessage, from: string, number: number, isAdopted: boolean) => void;
}

interface MessageRow {
  readonly from_node: string;
  readonly number: number;
  readonly about: string;
  readonly payload: Buffer;
}

const PER_READ = 1_000;
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

  async #readPiece(inbox: string): Promise<number> {
    const { database, nodes, commits, apply, log } = this.#options;
    const { rows } = await database.query<MessageRow>(READ, [inbox]);
    const cursors = this.#cursors.get(inbox) as Map<string, number>;
    const advanced = new Set<string>();
    for (const { from_node: from, number, about, payload } of rows) {
      advanced.add(from);
      // A row of a batch that was written again after it was applied, or one whose removal is not written yet.
      if (number <= (cursors.get(from) ?? 0)) continue;
      cursors.set(from, number);
      const message = decodeNodeMessage(about, payload);
      if (message === undefined) log.warn({ from, number }, 'a message of another release was passed over');
      else apply(message, from, number, inbox !== nodes.name);
    }
    for (const from of advanced) {
      const number = cursors.get(from) ?? 0;
      commits.add({ name: 'putCursor', values: [inbox, from, number] }, inbox.length + from.length + 100);
      commits.add({ name: 'dropNodeMessages', values: [inbox, from, number] }, inbox.length + from.length + 100);
    }
    // Read again only after the removal is stored.
    if (advanced.size > 0) await commits.durable();
    return rows.length;
  }
}
