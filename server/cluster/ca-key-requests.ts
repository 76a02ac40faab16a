/** Asks other nodes for the keys of CAs that this one lacks, one after the other, and answers them. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { ClusterBroker } from '../../broker/index.ts';
import type { Authority } from '../../enroll/index.ts';
import type { Cluster } from './cluster.ts';

export interface CaKeyRequestsOptions {
  readonly authority: Pick<Authority, 'keySharing'>;
  readonly cluster: Pick<Cluster, 'node' | 'nodes'>;
  readonly carrier: ClusterBroker['caKeyRequests'];
  readonly log: Logger;
}

/** A CA is activated three seconds after it was prepared, at the earliest. */
const EVERY_MS = 500;
/** After nobody sent it, or it could not be stored; twice as long after each further time. */
const RETRY_AFTER_MS = 15_000;
const RETRY_AT_MOST_MS = 300_000;

export class CaKeyRequests {
  readonly #options: CaKeyRequestsOptions;
  readonly #timer: NodeJS.Timeout;
  /** By CA: when it is asked for again, by a monotonic clock. */
  readonly #retryAt = new Map<string, number>();
  /** By CA: how often other nodes were asked for it. */
  readonly #tries = new Map<string, number>();
  readonly #closed = Promise.withResolvers<undefined>();
  #asking: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: CaKeyRequestsOptions) {
    this.#options = options;
    const { carrier, authority } = options;
    carrier.answerWith(async (request) =>
      authority.keySharing === undefined
        ? { refused: 'this node sends no keys' }
        : authority.keySharing.answer(request),
    );
    this.#timer = setInterval(() => this.#askAgain(), EVERY_MS).unref();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#closed.resolve(undefined);
    clearInterval(this.#timer);
    await this.#asking;
  }

  #askAgain(): void {
    this.#asking ??= this.#ask()
      .catch((error: unknown) => this.#options.log.error({ err: error }, 'the key of a CA could not be asked for'))
      .finally(() => {
        this.#asking = undefined;
      });
  }

  async #ask(): Promise<void> {
    const missing = this.#options.authority.keySharing?.missing() ?? [];
    for (const ca of missing) {
      if (this.#isClosed) return;
      if (performance.now() >= (this.#retryAt.get(ca) ?? 0)) await this.#askFor(ca);
    }
  }

  /** The nodes that say that they have it; before one does, it is asked for again soon. */
  async #askFor(ca: string): Promise<void> {
    const { cluster, log } = this.#options;
    const having = (await cluster.nodes()).filter(
      ({ name, liveness, caKeys }) =>
        name !== cluster.node && liveness.state === 'alive' && caKeys?.includes(ca) === true,
    );
    if (having.length === 0) return;
    const tries = this.#tries.get(ca) ?? 0;
    this.#tries.set(ca, tries + 1);
    this.#retryAt.set(ca, performance.now() + Math.min(RETRY_AFTER_MS * 2 ** tries, RETRY_AT_MOST_MS));
    for (const { name } of having) {
      const refused = await this.#askNode(ca, name);
      if (refused === undefined || this.#isClosed) return;
      log.warn({ ca, node: name, reason: refused }, 'the key of a CA was not received');
    }
  }

  /** Why it has not sent it; undefined when it has. */
  async #askNode(ca: string, name: string): Promise<string | undefined> {
    const { authority, carrier } = this.#options;
    try {
      const asked = await authority.keySharing?.ask(ca, name);
      const answer = await Promise.race([carrier.ask(name, asked?.request), this.#closed.promise]);
      if (answer === undefined) return 'it did not answer';
      await asked?.accept(answer);
      return undefined;
    } catch (error) {
      if (error instanceof Problem) return error.reason ?? error.code;
      throw error;
    }
  }
}
