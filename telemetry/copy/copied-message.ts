/** Messages of a journal as they are copied to another store: with the keys of the server, which no other reader gets. */

import { createHash } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { JournalMessage, Row } from '../../storage/index.ts';

export interface CopiedMessage extends JournalMessage {
  /** In the journal that it is read from. */
  readonly position: number;
}

/** Oldest first. */
export type CopiedPages = AsyncIterable<readonly CopiedMessage[]>;

export function copiedMessage(row: Row): CopiedMessage {
  const { position, source, receivedAt, qos, payload, deviceTime, deviceSequence, key } = row;
  const { contentType, payloadFormatIndicator, userProperties } = row;
  return {
    ...{ position, device: source.device, stream: source.stream, receivedAt, payload },
    qos: qos as 0 | 1 | 2,
    ...(deviceTime !== null && { deviceTime }),
    ...(deviceSequence !== null && { deviceSequence }),
    ...(key !== null && { key }),
    ...(contentType !== null && { contentType }),
    ...(payloadFormatIndicator !== null && { payloadFormatIndicator }),
    ...(userProperties !== null && { userProperties }),
  };
}

export interface JournalDigest {
  readonly messages: number;
  /** SHA-256 of all messages in their order. */
  readonly hash: string;
}

/** `positions`: those of the target are the same; what it has beyond the source was removed there meanwhile. `order`: they are others. */
export type Sameness = 'positions' | 'order';

/**
 * Reads both to their ends. Throws Problem `store_differs` where a message of the source is not in the target, or not as it was. Returns
 * the digest of the source.
 */
export async function compareJournals(
  source: CopiedPages,
  target: CopiedPages,
  same: Sameness,
  compared: (messages: number) => void = () => {},
): Promise<JournalDigest> {
  const hash = createHash('sha256');
  const found = messagesOf(target);
  let messages = 0;
  try {
    for await (const page of source) {
      for (const message of page) {
        let next = await found.next();
        while (same === 'positions' && next.done !== true && next.value.position < message.position) {
          next = await found.next();
        }
        const other = next.done === true ? undefined : next.value;
        const isSame = other !== undefined && (same === 'order' || other.position === message.position);
        const text = textOf(message);
        if (!isSame || text !== textOf(other) || Buffer.compare(message.payload, other.payload) !== 0) {
          throw new Problem('store_differs', {
            reason: `expected the message at position ${message.position}, found ${other?.position ?? 'none'}`,
          });
        }
        hash.update(text).update(message.payload);
        messages += 1;
      }
      compared(messages);
      await new Promise((resolve) => setImmediate(resolve)); // Leases are renewed meanwhile.
    }
    const more = same === 'order' ? await found.next() : undefined;
    if (more?.done === false)
      throw new Problem('store_differs', { reason: `expected ${messages} messages, found more` });
  } finally {
    await found.return(undefined);
  }
  return { messages, hash: hash.digest('hex') };
}

async function* messagesOf(pages: CopiedPages): AsyncGenerator<CopiedMessage, undefined> {
  for await (const page of pages) yield* page;
  return undefined;
}

/** All but position and payload. */
function textOf({ device, stream, receivedAt, qos, ...rest }: CopiedMessage): string {
  const { deviceTime, deviceSequence, key, contentType, payloadFormatIndicator, userProperties } = rest;
  const about = [deviceTime, deviceSequence, key, contentType, payloadFormatIndicator, userProperties];
  return `${JSON.stringify([device, stream, Math.trunc(receivedAt), qos, rest.payload.length, ...about])}\n`;
}
