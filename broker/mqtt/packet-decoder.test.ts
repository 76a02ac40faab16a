/** The packet decoder alone: verdicts, memory, and that it does not matter how a stream is cut. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  buildCorpus,
  type CorpusCase,
  connect,
  packet,
  remainingLength,
} from '../../test/fixtures/broker/packet-corpus.ts';
import { DEFAULT_LIMITS } from '../broker-limits.ts';
import { type DecodedPacket, PacketDecoder, PacketType } from './packet-decoder.ts';
import type { ConnectFields } from './packet-validation.ts';
import { type ProtocolViolation, VIOLATIONS } from './protocol-violations.ts';

const limits = DEFAULT_LIMITS;
const corpus = buildCorpus({ limits, clientId: 'client-1' });

interface Seen {
  readonly packets: string[];
  readonly connects: ConnectFields[];
  violation: ProtocolViolation | undefined;
}

/** Pushes chunks and keeps copies of everything that comes out. */
function run(chunks: readonly Buffer[], decoder = new PacketDecoder(limits), isBusy = () => false): Seen {
  const seen: Seen = { packets: [], connects: [], violation: undefined };
  const record = (packet: DecodedPacket) => seen.packets.push(packet.bytes.toString('hex', packet.start, packet.end));
  const receiver = {
    mayReceive: () => !isBusy(),
    connectDecoded(packet: DecodedPacket, fields: ConnectFields) {
      record(packet);
      seen.connects.push(fields);
    },
    packetDecoded: record,
  };
  for (const chunk of chunks) seen.violation ??= decoder.push(chunk, receiver);
  while (decoder.hasUnreadBytes && seen.violation === undefined) seen.violation ??= decoder.resume(receiver);
  return seen;
}

const streamOf = ({ after, bytes }: CorpusCase): Buffer =>
  after === 'handshake' ? bytes : Buffer.concat([connect('client-1'), bytes]);

function verdictOf({ packets, violation }: Seen): string | number {
  if (violation !== undefined) return violation.connack ?? 'close';
  return packets.some((text) => text.startsWith('e0')) ? 'close' : 'taken';
}

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  const chunks: Buffer[] = [];
  let from = 0;
  for (const place of [...sorted, bytes.length]) {
    chunks.push(bytes.subarray(from, place));
    from = place;
  }
  return chunks;
}

describe('the packet decoder', () => {
  it(`gives the verdict of the standard for each of ${corpus.length} inputs`, () => {
    expect(corpus.length).toBeGreaterThan(752);
    const wrong = corpus.filter((input) => verdictOf(run([streamOf(input)])) !== input.verdict);
    expect(wrong.map(({ name, verdict }) => `${name}: ${verdict}`)).toEqual([]);
  });

  it('gives the same verdicts byte by byte', () => {
    const wrong = corpus.filter((input) => {
      const bytes = streamOf(input);
      if (bytes.length > 1_000) return false;
      return verdictOf(run([...bytes].map((byte) => Buffer.from([byte])))) !== input.verdict;
    });
    expect(wrong.map(({ name }) => name)).toEqual([]);
  });

  it('decodes the same packets wherever the stream is split', () => {
    const valid = corpus.filter(
      ({ verdict, after, bytes }) => verdict === 'taken' && after === 'connack' && bytes.length < 5_000,
    );
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...valid), { minLength: 1, maxLength: 8 }),
        fc.array(fc.nat(20_000), { maxLength: 12 }),
        (inputs, places) => {
          const bytes = Buffer.concat([connect('client-1'), ...inputs.map((input) => input.bytes)]);
          const seen = run(cut(bytes, places));
          expect(seen.violation).toBeUndefined();
          expect(seen.packets).toEqual(
            [connect('client-1'), ...inputs.map((input) => input.bytes)].map((one) => one.toString('hex')),
          );
        },
      ),
      { numRuns: 200 },
    );
  });

  it('decodes the same, and finds the same violation, when its receiver pauses now and then', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...corpus.filter(({ bytes }) => bytes.length < 5_000)), { maxLength: 6 }),
        fc.array(fc.nat(20_000), { maxLength: 6 }),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
        (inputs, places, rests) => {
          const bytes = Buffer.concat([connect('client-1'), ...inputs.map((input) => input.bytes)]);
          const tired = [...rests];
          const resting = run(cut(bytes, places), new PacketDecoder(limits), () => tired.pop() ?? false);
          expect(resting).toEqual(run([bytes]));
        },
      ),
      { numRuns: 200 },
    );
  });

  it('gives one verdict for damaged bytes, wherever they are cut, and never throws', () => {
    const damage = fc.record({ at: fc.nat(5_000), to: fc.nat(255) });
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...corpus.filter(({ bytes }) => bytes.length < 5_000)), {
          minLength: 1,
          maxLength: 4,
        }),
        fc.array(damage, { maxLength: 4 }),
        fc.array(fc.nat(20_000), { maxLength: 6 }),
        (inputs, damages, places) => {
          const bytes = Buffer.concat([connect('client-1'), ...inputs.map((input) => input.bytes)]);
          for (const { at, to } of damages) bytes[at % bytes.length] = to;
          const together = run([Buffer.from(bytes)]);
          const apart = run(cut(bytes, places));
          expect(apart.violation).toBe(together.violation);
          expect(apart.packets).toEqual(together.packets);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('accepts an empty chunk', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }), (chunks) => {
        run(chunks.map((chunk) => Buffer.from(chunk)));
      }),
      { numRuns: 300 },
    );
  });

  it('refuses by the declared length, before the bytes are received', () => {
    const decoder = new PacketDecoder(limits);
    run([connect('client-1')], decoder);
    const head = Buffer.concat([Buffer.from([0x30]), remainingLength(268_435_455)]);
    expect(run([head], decoder).violation).toBe(VIOLATIONS.packetTooLarge);
    expect(decoder.bufferedBytes).toBe(0);
  });

  it('buffers no more than was received', () => {
    const decoder = new PacketDecoder(limits);
    run([connect('client-1'), packet(0x30, Buffer.alloc(200_000)).subarray(0, 1_000)], decoder);
    expect(decoder.bufferedBytes).toBe(1_000);
  });

  it('does not decode a first packet that is not CONNECT', () => {
    const decoder = new PacketDecoder(limits);
    expect(run([Buffer.from([0x30])], decoder).violation).toBe(VIOLATIONS.firstNotConnect);
    expect(run([connect('client-1')], decoder)).toMatchObject({ packets: [], violation: VIOLATIONS.firstNotConnect });
  });

  it('decodes nothing after DISCONNECT', () => {
    const seen = run([connect('client-1'), Buffer.from([0xe0, 0x00, 0xff, 0xff]), Buffer.from([0x30])]);
    expect(seen).toMatchObject({ packets: [expect.any(String), 'e000'], violation: undefined });
  });

  it('reads the fields of CONNECT', () => {
    const field = (value: string) => Buffer.concat([Buffer.from([0, value.length]), Buffer.from(value)]);
    const bytes = connect('client-1', { flags: 0x2e, keepalive: 1_000, payload: [field('a/b'), field('gone')] });
    expect(run([bytes]).connects).toEqual([
      {
        clientId: 'client-1',
        clean: true,
        keepalive: 1_000,
        will: { topic: 'a/b', qos: 1, retain: true, payloadBytes: 4 },
      },
    ]);
  });

  it('points at topic, identifier and payload of a PUBLISH', () => {
    const decoder = new PacketDecoder(limits);
    const found: unknown[] = [];
    const receiver = {
      mayReceive: () => true,
      connectDecoded() {},
      packetDecoded({ bytes, type, qos, retain, topicStart, topicEnd, packetId, payload, end }: DecodedPacket) {
        const topic = bytes.toString('utf8', topicStart, topicEnd);
        found.push({ type, qos, retain, topic, packetId, payload: bytes.toString('utf8', payload, end) });
      },
    };
    const publish = packet(
      0x33,
      Buffer.from([0, 3]),
      Buffer.from('a/b'),
      Buffer.from([0x12, 0x34]),
      Buffer.from('hello'),
    );
    decoder.push(Buffer.concat([connect('client-1'), publish]), receiver);
    expect(found).toEqual([
      { type: PacketType.publish, qos: 1, retain: true, topic: 'a/b', packetId: 0x1234, payload: 'hello' },
    ]);
  });
});
