/**
 * What the server of each node reports of itself as a whole, such as its load. The broker carries the question and the reports, which are plain
 * JSON, and knows nothing of them.
 */

import type { NodeRequests } from './node-requests.ts';

export interface FoundReports {
  /** Of other nodes, by their names. */
  readonly reports: ReadonlyMap<string, unknown>;
  /** Other nodes that are heard and did not answer in time. */
  readonly unanswered: readonly string[];
}

export interface NodeReportsOptions {
  readonly requests: Pick<NodeRequests, 'ask'>;
  /** Names of other nodes that are heard. */
  readonly others: () => readonly string[];
}

export class NodeReports {
  readonly #options: NodeReportsOptions;
  #read: ((question: unknown) => unknown) | undefined;

  constructor(options: NodeReportsOptions) {
    this.#options = options;
  }

  /** `read` answers other nodes from now on; undefined: this release does not know the question. */
  answerWith(read: (question: unknown) => unknown): void {
    this.#read = read;
  }

  /** A question of another node. */
  report(question: unknown): unknown {
    return this.#read?.(question);
  }

  /** Asks all other nodes that are heard, and waits a second at most. Throws Problem `rate_limited`. */
  async ask(question: unknown): Promise<FoundReports> {
    const others = this.#options.others();
    const reports = await this.#options.requests.ask(others, 'report', question);
    return { reports, unanswered: others.filter((name) => !reports.has(name)) };
  }
}
