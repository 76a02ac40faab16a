/**
 * Gives aedes the packets that the gate has already judged, without parsing them a second time where that costs most:
 * PUBLISH. Everything else goes through aedes' own parser.
 */

import { PacketType } from './packet-gate.ts';
import { length16 } from './packet-rules.ts';

/** aedes' parser, one per client; it takes one step of whole, valid packets at a time. */
export interface EngineParser {
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

export function readFromGate(parser: EngineParser): void {
  parser.parse = parseStep;
}

function parseStep(this: EngineParser, step: Buffer): number {
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
    if (first >> 4 === PacketType.publish) this.emit('packet', readPublish(step, first, body, end));
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
