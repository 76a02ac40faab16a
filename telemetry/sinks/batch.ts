/** Which messages are delivered together. */

import { propertiesLength } from '../../storage/index.ts';
import type { SinkMessage } from './target.ts';

export interface BatchLimits {
  readonly messages: number;
  /** Of payload and MQTT 5 properties; one message may be larger alone. */
  readonly bytes: number;
  /** How long the first message after a quiet time waits for others, in ms. */
  readonly linger: number;
}

/** In their order, none of them empty. */
export function* batchesOf(
  messages: readonly SinkMessage[],
  { messages: most, bytes }: BatchLimits,
): Generator<readonly SinkMessage[]> {
  let start = 0;
  let total = 0;
  for (const [index, message] of messages.entries()) {
    const size = message.payload.byteLength + propertiesLength(message);
    if (index > start && (index - start >= most || total + size > bytes)) {
      yield messages.slice(start, index);
      start = index;
      total = 0;
    }
    total += size;
  }
  if (start < messages.length) yield messages.slice(start);
}
