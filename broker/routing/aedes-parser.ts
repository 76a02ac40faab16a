/**
 * Gives aedes the packets that the gate has already judged: PUBLISH without parsing it a second time, since that costs most,
 * and SUBSCRIBE with all of its filters, since aedes would pass over some. Everything else goes through aedes' own parser.
 */

import { PacketType } from '../mqtt/packet-decoder.ts';
import { fieldEnd, length16 } from '../mqtt/packet-validation.ts';

/** aedes' parser, one per client; it takes one step of whole, valid packets at a time. */
export interface AedesParser {
  parse(step: Buffer): number;
  emit(event: 'packet', packet: object): boolean;
}

/** The fields of mqtt-packet's own, in its order. */
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
 * aedes takes out a filter that stands in one packet twice, and SUBACK would lack its code: there has to be one for each
 * [MQTT-3.9.3-1], as if they had come one after the other [MQTT-3.8.4-4]. So its list can't be replaced.
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

function parseBatch(this: AedesParser, step: Buffer): number {
  for (let at = 0; at < step.length; ) {
    const first = step[at] as number;
    let body = at + 1;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const digit = step[body] as number;
      body += 1;
      length |= (digit & 0x7f) << shift;
      if (digit < 0x80) break;
    }
    const end = body + length;
    const type = first >> 4;
    if (type === PacketType.publish) this.emit('packet', readPublish(step, first, body, end));
    else if (type === PacketType.subscribe) this.emit('packet', readSubscribe(step, body, end));
    else Object.getPrototypeOf(this).parse.call(this, at === 0 && end === step.length ? step : step.subarray(at, end));
    at = end;
  }
  return 0;
}

function readPublish(step: Buffer, first: number, body: number, end: number): PublishPacket {
  const topicEnd = body + 2 + length16(step, body);
  const topic = step.toString('utf8', body + 2, topicEnd);
  const hasId = (first & 0x06) !== 0;
  const payload = step.subarray(hasId ? topicEnd + 2 : topicEnd, end);
  return new PublishPacket(first, end - body, topic, payload, hasId ? length16(step, topicEnd) : undefined);
}

function readSubscribe(step: Buffer, body: number, end: number): SubscribePacket {
  const filters: RequestedFilter[] = [];
  for (let at = body + 2; at < end; ) {
    const filterEnd = fieldEnd(step, at, end);
    filters.push({ topic: step.toString('utf8', at + 2, filterEnd), qos: step[filterEnd] as number });
    at = filterEnd + 1;
  }
  return new SubscribePacket(end - body, length16(step, body), filters);
}
