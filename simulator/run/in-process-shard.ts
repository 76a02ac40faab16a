/**
 * One shard in this process, without a thread: the caller can watch its devices, give them stores and a log. For fleets of
 * the SDK alone.
 */

import type { DeviceReport } from '../devices/device-report.ts';
import { type ServedShard, serveShard } from '../devices/serve-shard.ts';
import type { SdkSettings } from '../devices/shard-context.ts';
import type { ShardPlacement } from './shard-placement.ts';

export class InProcessShard {
  readonly #sdk: SdkSettings;
  #served: ServedShard | undefined;

  constructor(sdk: SdkSettings) {
    this.#sdk = sdk;
  }

  get placement(): ShardPlacement {
    return {
      shards: 1,
      sourceAddresses: [],
      startDelay: 0,
      clockOffset: () => 0,
      open: (_, events) => {
        const served = serveShard((message) => events.message(message), this.#sdk);
        this.#served = served;
        return { post: (message) => served.handle(message), close: async () => {} };
      },
      memory: () => process.memoryUsage.rss(),
      hosts: () => [],
    };
  }

  reports(): readonly DeviceReport[] {
    return this.#served?.shard?.reports() ?? [];
  }
}
