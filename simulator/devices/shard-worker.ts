/** A shard in a thread of its own: messages in, messages out. */

import { parentPort } from 'node:worker_threads';
import { Shard } from './shard.ts';
import type { FromShard, ToShard } from './shard-messages.ts';

const port = parentPort;
if (port === null) throw new Error('expected to run as a worker thread');

const tell = (message: FromShard) => port.postMessage(message);
let shard: Promise<Shard> | undefined;

port.on('message', (message: ToShard) => {
  if (message.kind === 'prepare') {
    shard = Shard.open(message.config, tell);
    shard.then(
      () => tell({ kind: 'prepared' }),
      (error: Error) => tell({ kind: 'failed', error: error.message }),
    );
    return;
  }
  void shard?.then((ready) => ready.hear(message));
});
