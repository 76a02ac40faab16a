/**
 * Gives aedes the packets that the decoder has validated: PUBLISH without full parsing, which would cost most, and SUBSCRIBE with
 * all its filters, since aedes would skip repeated ones. Everything else goes through aedes' own parser.
 */

import { PacketType } from '../mqtt/packet-decoder.ts';
import { fieldEnd, length16 } from '../mqtt/packet-validation.ts';

/** aedes' parser, one per client. It is given one batch of whole, valid packets at a time. */
export interface AedesParser {
  parse(batch: Buffer): number;
  emit(event: 'packet', packet: object): boolean;
}

/** The same fields as mqtt-packet's packet, in the same order. */
class PublishPacket {
  readonly cmd = 'publish';
  readonly retain: boolean;
  readonly qos: number;
  readonly dup: boolean;
  readonly length: number;
  readonly topic: string;
  readonly payload: Buffer;
  readonly messageId: number | undefined;

  constructor(first: number, length: number, topic: string, payload: Buffer, messageId: number | undefined) {
    this.retain = (first & 0x01) !== 0;
    this.qos = (first >> 1) & 0x03;
    this.dup = (first & 0x08) !== 0;
    this.length = length;
    this.topic = topic;
    this.payload = payload;
    this.messageId = messageId;
  }
}

interface RequestedFilter {
  readonly topic: string;
  readonly qos: number;
}

/**
 * aedes removes a filter that is twice in one packet, and SUBACK would lack its return code: there must be one for each
 * [MQTT-3.9.3-1], as if they had come in separate packets [MQTT-3.8.4-4]. So the list cannot be replaced.
 */
class SubscribePacket {
  readonly cmd = 'subscribe';
  readonly length: number;
  readonly messageId: number;
  readonly #filters: readonly RequestedFilter[];

  constructor(length: number, messageId: number, filters: readonly RequestedFilter[]) {
    this.length = length;
    this.messageId = messageId;
    this.#filters = filters;
  }

  get subscriptions(): readonly RequestedFilter[] {
    return this.#filters;
  }

  set subscriptions(_withoutRepeated: readonly RequestedFilter[]) {}
}

export function parseDecodedPackets(parser: AedesParser): void {
  parser.parse = parseBatch;
}

function parseBatch(this: AedesParser, batch: Buffer): number {
  for (let at = 0; at < batch.length; ) {
    const first = batch[at] as number;
    let body = at + 1;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const digit = batch[body] as number;
      body += 1;
      length |= (digit & 0x7f) << shift;
      if (digit < 0x80) break;
    }
    const end = body + length;
    const type = first >> 4;
    if (type === PacketType.publish) this.emit('packet', readPublish(batch, first, body, end));
    else if (type === PacketType.subscribe) this.emit('packet', readSubscribe(batch, body, end));
    else
      Object.getPrototypeOf(this).parse.call(this, at === 0 && end === batch.length ? batch : batch.subarray(at, end));
    at = end;
  }
  return 0;
}

function readPublish(batch: Buffer, first: number, body: number, end: number): PublishPacket {
  const topicEnd = body + 2 + length16(batch, body);
  const topic = batch.toString('utf8', body + 2, topicEnd);
  const hasId = (first & 0x06) !== 0;
  const payload = batch.subarray(hasId ? topicEnd + 2 : topicEnd, end);
  return new PublishPacket(first, end - body, topic, payload, hasId ? length16(batch, topicEnd) : undefined);
}

function readSubscribe(batch: Buffer, body: number, end: number): SubscribePacket {
  const filters: RequestedFilter[] = [];
  for (let at = body + 2; at < end; ) {
    const filterEnd = fieldEnd(batch, at, end);
    filters.push({ topic: batch.toString('utf8', at + 2, filterEnd), qos: batch[filterEnd] as number });
    at = filterEnd + 1;
  }
  return new SubscribePacket(end - body, length16(batch, body), filters);
}
