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

  private constructor(options: LoadTestFollowerOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#read(), EVERY_MS);
    this.#timer.unref();
  }

  static async start(options: LoadTestFollowerOptions): Promise<LoadTestFollower> {
    const follower = new LoadTestFollower(options);
    await follower.#read();
    return follower;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
  }

  async #read(): Promise<void> {
    const { registry, loadTests, log } = this.#options;
    try {
      const tokens = await registry.listLoadTests();
      loadTests.replace(tokens.flatMap(loadTestOf));
      this.#report(tokens);
    } catch (error) {
      loadTests.replace([]); // without the registry no address is exempt
      log.error({ err: error }, 'load tests were not read');
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
