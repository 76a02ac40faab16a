/** A part that one node at a time runs: it is opened when this node gets its lease, and closed when the lease is lost. */

import type { Logger } from 'pino';
import type { Singletons, SingletonTerm } from '../../storage/postgres/index.ts';

export interface LeasedPartOptions<Part> {
  readonly singletons: Pick<Singletons, 'compete'>;
  /** Of the lease. */
  readonly name: string;
  readonly open: (term: SingletonTerm) => Promise<Part>;
  /** `isLost`: another node may begin soon. */
  readonly close: (part: Part, isLost: boolean) => Promise<void>;
  /** Milliseconds until a part that could not be opened is tried again; 5,000 without it. */
  readonly retryAfter?: number;
  readonly log: Logger;
}

const RETRY_AFTER_MS = 5_000;

export class LeasedPart<Part> {
  readonly #options: LeasedPartOptions<Part>;
  readonly #withdraw: () => Promise<void>;
  #part: Part | undefined;
  #term: SingletonTerm | undefined;
  #retry: NodeJS.Timeout | undefined;
  /** One change after the other. */
  #changing: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(options: LeasedPartOptions<Part>) {
    this.#options = options;
    this.#withdraw = options.singletons.compete(options.name, {
      onTaken: (term) => this.#begin(term),
      onLost: (term, reason) => this.#lose(term, reason),
    });
  }

  /** Undefined while another node has it. */
  get current(): Part | undefined {
    return this.#part;
  }

  /** Closes the part before the lease is free. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#term = undefined;
    clearTimeout(this.#retry);
    await this.#change(() => this.#end(false));
    await this.#withdraw();
  }

  #begin(term: SingletonTerm): void {
    const { name, log } = this.#options;
    this.#term = term;
    log.info({ lease: name, epoch: term.epoch }, 'this node has the lease');
    this.#open(term);
  }

  /** No other node does it while this one has the lease: it tries again until it has lost that. */
  #open(term: SingletonTerm): void {
    const { name, open, retryAfter = RETRY_AFTER_MS, log } = this.#options;
    void this.#change(async () => {
      if (this.#term !== term || this.#isClosed) return;
      try {
        this.#part = await open(term);
      } catch (error) {
        log.error({ err: error, lease: name }, 'the part with the lease was not opened; it is tried again');
        if (this.#term === term && !this.#isClosed)
          this.#retry = setTimeout(() => this.#open(term), retryAfter).unref();
      }
    });
  }

  #lose(term: SingletonTerm, reason: string): void {
    const { name, log } = this.#options;
    log.warn({ lease: name, epoch: term.epoch, reason }, 'this node has lost the lease');
    this.#term = undefined;
    clearTimeout(this.#retry);
    void this.#change(() => this.#end(true));
  }

  async #end(isLost: boolean): Promise<void> {
    const part = this.#part;
    this.#part = undefined;
    if (part !== undefined) await this.#options.close(part, isLost);
  }

  #change(work: () => Promise<void>): Promise<void> {
    const { name, log } = this.#options;
    this.#changing = this.#changing
      .then(work)
      .catch((error: unknown) => log.error({ err: error, lease: name }, 'the part with the lease was not closed'));
    return this.#changing;
  }
}
