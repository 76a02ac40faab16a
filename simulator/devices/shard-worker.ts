/** A shard in a worker thread. */

import { parentPort } from 'node:worker_threads';
import { serveShard } from './serve-shard.ts';
import type { ToShard } from './shard-messages.ts';

const port = parentPort;
if (port === null) throw new Error('expected to run as a worker thread');

const { handle } = serveShard((message) => port.postMessage(message));
port.on('message', (message: ToShard) => handle(message));
