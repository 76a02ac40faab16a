/** Runs one shard by messages: in a worker thread, or in this process. */

import { Shard } from './shard.ts';
import { DEFAULT_SDK_SETTINGS, type SdkSettings } from './shard-context.ts';
import type { FromShard, ToShard } from './shard-messages.ts';

export interface ServedShard {
  handle(message: ToShard): void;
  /** Undefined until it is prepared. */
  readonly shard: Shard | undefined;
}

export function serveShard(send: (message: FromShard) => void, sdk: SdkSettings = DEFAULT_SDK_SETTINGS): ServedShard {
  let opening: Promise<Shard> | undefined;
  let shard: Shard | undefined;
  return {
    get shard() {
      return shard;
    },
    handle: (message) => {
      if (message.kind !== 'prepare') {
        void opening?.then(
          (ready) => ready.handle(message),
          () => {}, // the failure is sent below
        );
        return;
      }
      opening = Shard.open(message.config, send, sdk);
      opening.then(
        (opened) => {
          shard = opened;
          send({ kind: 'prepared' });
        },
        (error: Error) => send({ kind: 'failed', error: error.message }),
      );
    },
  };
}
