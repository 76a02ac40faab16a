/**
 * Reads which load tests operators allowed, once a second: a token is created, revoked and expired in the registry, by this
 * process or another one.
 */

import { type AddressNetwork, parseAddressNetwork } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { LoadTest, LoadTestExemptions } from '../limits/index.ts';
import type { Registry, TokenRecord } from '../registry/index.ts';

export interface LoadTestFollowerOptions {
  readonly registry: Pick<Registry, 'listLoadTests'>;
  readonly loadTests: Pick<LoadTestExemptions, 'replace'>;
  readonly log: Logger;
}

const EVERY_MS = 1_000;

export class LoadTestFollower {
  readonly #options: LoadTestFollowerOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #known = new Set<string>();
  #reading: Promise<void> | undefined;
  #isFailing = false;
  #isClosed = false;

  private constructor(options: LoadTestFollowerOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#once(), EVERY_MS).unref();
  }

  static async start(options: LoadTestFollowerOptions): Promise<LoadTestFollower> {
    const follower = new LoadTestFollower(options);
    await follower.#once();
    return follower;
  }

  /** Does not wait for an answer of a database that may be gone. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#isClosed = true;
  }

  /** A database that is slow is asked once at a time. */
  #once(): Promise<void> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #read(): Promise<void> {
    const { registry, loadTests, log } = this.#options;
    try {
      const tokens = await registry.listLoadTests();
      loadTests.replace(tokens.flatMap(loadTestOf));
      this.#report(tokens);
      this.#isFailing = false;
    } catch (error) {
      if (this.#isClosed) return;
      loadTests.replace([]); // without the registry no address is exempt
      if (!this.#isFailing) log.error({ err: error }, 'load tests were not read');
      this.#isFailing = true;
    }
  }

  #report(tokens: readonly TokenRecord[]): void {
    const { log } = this.#options;
    const ids = new Set(tokens.map(({ id }) => id));
    for (const { id, loadTest, expiresAt, createdBy } of tokens) {
      if (this.#known.has(id)) continue;
      this.#known.add(id);
      const fields = { tokenId: id, ...loadTest, createdBy, expiresAt: new Date(expiresAt).toISOString() };
      log.warn(fields, 'addresses are exempt from the limits per address for a load test');
    }
    for (const id of this.#known) {
      if (ids.has(id)) continue;
      this.#known.delete(id);
      log.info({ tokenId: id }, 'exemption for a load test ended');
    }
  }
}

function loadTestOf({ id, loadTest, expiresAt }: TokenRecord): readonly LoadTest[] {
  if (loadTest === undefined) return [];
  const networks = loadTest.from
    .map((text) => parseAddressNetwork(text))
    .filter((network): network is AddressNetwork => network !== undefined);
  return [{ tokenId: id, networks, perSecond: loadTest.perSecond, expiresAt }];
}
