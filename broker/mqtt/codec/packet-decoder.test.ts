/** The packet decoder alone: verdicts of both corpora, memory, and that it does not matter how a stream is cut. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Decoded, decode } from '../../../test/fixtures/broker/decoded-packets.ts';
import { type CorpusCase5, NO_PROPERTIES } from '../../../test/fixtures/broker/mqtt5-corpus/case.ts';
import { connect5 } from '../../../test/fixtures/broker/mqtt5-corpus/connect-cases.ts';
import { buildCorpus5 } from '../../../test/fixtures/broker/mqtt5-corpus/corpus.ts';
import { buildCorpus, type CorpusCase } from '../../../test/fixtures/broker/packet-corpus.ts';
import { connect, packet, remainingLength, text, u16 } from '../../../test/fixtures/broker/packet-parts.ts';
import { DEFAULT_LIMITS } from '../../broker-limits.ts';
import { PacketDecoder } from './packet-decoder.ts';
import { PROPERTY_LIMITS } from './packet-limits.ts';
import { FAULTS } from './protocol-violations.ts';

const limits = { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS };
const SEED = 20_261_129;

/** Faults that depend on earlier packets: the handlers state them. */
const BY_HANDLERS = ['topicAliasUnknown', 'receiveMaximumExceeded'];

interface Input {
  readonly name: string;
  /** From the first byte of the connection. */
  readonly stream: Buffer;
  readonly expected: unknown;
  readonly isFirst: boolean;
  /** Where the input begins, after CONNECT. */
  readonly first: number;
}

function inputOf(connected: Buffer) {
  return ({ name, after, bytes, verdict }: CorpusCase | CorpusCase5): Input => {
    const isFirst = after === 'handshake';
    const stream = isFirst ? bytes : Buffer.concat([connected, bytes]);
    return { name, stream, expected: verdict, isFirst, first: isFirst ? 0 : connected.length };
  };
}

const inputs4 = buildCorpus({ limits, clientId: 'client-1' }).map(inputOf(connect('client-1')));
const inputs5 = buildCorpus5({ limits, clientId: 'client-1', topic: 'a' }).map(inputOf(connect5()));
const inputs = [...inputs4, ...inputs5];

function verdict4({ violation, packets }: Decoded): unknown {
  if (violation === undefined) return packets.at(-1)?.name === 'disconnect' ? 'close' : 'taken';
  return violation.connack === undefined ? 'close' : violation.connack === 0x84 ? 1 : 2;
}

function verdict5({ violation, packets }: Decoded, isFirst: boolean): unknown {
  if (violation === undefined) return packets.at(-1)?.name === 'disconnect' ? 'ended' : 'taken';
  const { reasonCode, clause, connack, isLimit } = violation;
  expect(isLimit).toBe(clause === 'limit');
  expect(connack === undefined || connack === reasonCode).toBe(true);
  const isSilent = isFirst && connack === undefined;
  return { reasonCode, clause, ...(isSilent ? { isSilent } : {}) };
}

const faults = (all: readonly Input[], verdictOf: (input: Input) => unknown) =>
  all
    .map((input) => ({ name: input.name, expected: input.expected, found: verdictOf(input) }))
    .filter(({ expected, found }) => JSON.stringify(sorted(expected)) !== JSON.stringify(sorted(found)));

const sorted = (value: unknown): unknown =>
  typeof value === 'object' && value !== null ? Object.entries(value).sort() : value;

const bytewise = (stream: Buffer): Buffer[] => Array.from(stream, (byte) => Buffer.from([byte]));

function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sortedPlaces = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  const chunks: Buffer[] = [];
  let from = 0;
  for (const place of [...sortedPlaces, bytes.length]) {
    chunks.push(bytes.subarray(from, place));
    from = place;
  }
  return chunks;
}

const decoder = () => new PacketDecoder(limits);
const decodeAll = (chunks: readonly Buffer[]) => decode(decoder(), chunks);

describe('the packet decoder', () => {
  it(`gives the verdict of MQTT 3.1.1 for each of ${inputs4.length} inputs`, () => {
    expect(inputs4.length).toBeGreaterThan(750);
    expect(faults(inputs4, ({ stream }) => verdict4(decodeAll([stream])))).toEqual([]);
  });

  it(`gives the reason code and clause of MQTT 5 for each of ${inputs5.length} inputs`, () => {
    expect(inputs5.length).toBeGreaterThan(5_000);
    expect(faults(inputs5, ({ stream, isFirst }) => verdict5(decodeAll([stream]), isFirst))).toEqual([]);
  });

  it('decodes every short input alike when it comes in two chunks, cut at any byte', () => {
    const different: string[] = [];
    for (const { name, stream, first } of inputs) {
      if (stream.length > 120) continue;
      const whole = JSON.stringify(decodeAll([stream]));
      for (let at = first + 1; at < stream.length; at += 1) {
        const halves = JSON.stringify(decodeAll([stream.subarray(0, at), stream.subarray(at)]));
        if (halves !== whole) different.push(`${name}, cut at ${at}`);
      }
    }
    expect(different).toEqual([]);
  });

  it('decodes every input alike byte by byte', () => {
    const different = inputs.filter(({ stream }) => {
      if (stream.length > 2_000) return false;
      return JSON.stringify(decodeAll(bytewise(stream))) !== JSON.stringify(decodeAll([stream]));
    });
    expect(different.map(({ name }) => name)).toEqual([]);
  });

  it('states each of its faults for some input', () => {
    const stated = new Set(inputs.map(({ stream }) => decodeAll([stream]).violation));
    const types = Array.from({ length: 16 }, (_, type) => type);
    const unstated = Object.entries(FAULTS).filter(([name, fault]) => {
      if (BY_HANDLERS.includes(name)) return false;
      return !types.some((type) => ([undefined, 4, 5] as const).some((version) => stated.has(fault.in(type, version))));
    });
    expect(unstated.map(([name]) => name)).toEqual([]);
  });

  const short = (all: readonly Input[]) => all.filter(({ stream, isFirst }) => !isFirst && stream.length < 2_000);
  const versions = [
    { version: 'MQTT 3.1.1', first: connect('client-1'), short: short(inputs4) },
    { version: 'MQTT 5', first: connect5(), short: short(inputs5) },
  ];

  for (const { version, first, short } of versions) {
    const streams = fc
      .array(fc.constantFrom(...short), { minLength: 1, maxLength: 6 })
      .map((some) => Buffer.concat([first, ...some.map(({ stream }) => stream.subarray(first.length))]));
    const places = fc.array(fc.nat(12_000), { maxLength: 8 });

    it(`decodes the same of ${version} wherever the stream is cut and whenever its handlers pause`, () => {
      const pauses = fc.array(fc.boolean(), { minLength: 1, maxLength: 40 });
      fc.assert(
        fc.property(streams, places, pauses, (stream, at, pause) => {
          const rests = [...pause];
          const found = decode(decoder(), cut(stream, at), () => rests.pop() ?? false);
          expect(found).toEqual(decodeAll([stream]));
        }),
        { numRuns: 500, seed: SEED },
      );
    });

    it(`gives one verdict for damaged bytes of ${version}, wherever they are cut, and never throws`, () => {
      const damages = fc.array(fc.record({ at: fc.nat(12_000), to: fc.nat(255) }), { maxLength: 4 });
      fc.assert(
        fc.property(streams, damages, places, (stream, damage, at) => {
          const damaged = Buffer.from(stream);
          for (const { at: index, to } of damage)
            damaged[first.length + (index % (damaged.length - first.length))] = to;
          expect(decodeAll(cut(damaged, at))).toEqual(decodeAll([damaged]));
        }),
        { numRuns: 1_500, seed: SEED },
      );
    });

    it(`never throws on random bytes after CONNECT of ${version}`, () => {
      fc.assert(
        fc.property(
          fc.constantFrom(0x30, 0x32, 0x40, 0x62, 0x82, 0xa2, 0xe0),
          fc.uint8Array({ maxLength: 60 }),
          (type, body) => {
            decodeAll([first, packet(type, Buffer.from(body))]);
          },
        ),
        { numRuns: 3_000, seed: SEED },
      );
    });
  }

  it('refuses by the declared length, before the bytes are received', () => {
    const one = decoder();
    const head = Buffer.concat([Buffer.from([0x30]), remainingLength(268_435_455)]);
    expect(decode(one, [connect5(), head]).violation).toMatchObject({
      reasonCode: 0x95,
      clause: 'limit',
      packet: 'PUBLISH',
    });
    expect(one.bufferedBytes).toBe(0);
  });

  it('buffers no more than was received', () => {
    const one = decoder();
    decode(one, [connect5(), packet(0x30, Buffer.alloc(200_000)).subarray(0, 1_000)]);
    expect(one.bufferedBytes).toBe(1_000);
  });

  it('decodes nothing after a violation, and reports the same violation again', () => {
    const one = decoder();
    const first = decode(one, [Buffer.from([0x30])]);
    expect(first.violation).toMatchObject({ clause: 'MQTT-3.1.0-1', packet: 'PUBLISH', connack: undefined });
    expect(decode(one, [connect('client-1')])).toEqual({ packets: [], violation: first.violation });
  });

  it('creates each violation once', () => {
    const publish = packet(0x30, text(''), NO_PROPERTIES);
    const first = decodeAll([connect5(), publish]).violation;
    expect(first).toBeDefined();
    expect(decodeAll([connect5(), publish]).violation).toBe(first);
    expect(Object.isFrozen(first)).toBe(true);
  });

  it('decodes nothing after DISCONNECT', () => {
    const { packets, violation } = decodeAll([
      connect('client-1'),
      Buffer.from([0xe0, 0x00, 0xff, 0xff]),
      Buffer.from([0x30]),
    ]);
    expect(packets.map(({ name }) => name)).toEqual(['connect', 'disconnect']);
    expect(violation).toBeUndefined();
  });

  it('answers a CONNECT by CONNACK when the version has a code for it, and nothing later', () => {
    const connackOf = (...packets: readonly Buffer[]) => decodeAll(packets).violation?.connack;
    expect(connackOf(connect('client-1', { level: 6 }))).toBe(0x84);
    expect(connackOf(connect(''))).toBe(0x85);
    expect(connackOf(connect('client-1', { flags: 3 }))).toBeUndefined();
    expect(connackOf(connect5({ flags: 3 }))).toBe(0x81);
    expect(connackOf(connect5({ flags: 0x0a }))).toBe(0x82);
    expect(connackOf(connect5(), connect5())).toBeUndefined();
    expect(connackOf(connect5(), packet(0x30, text('')))).toBeUndefined();
  });

  it('knows the version of a CONNECT that it refuses, so that it can be answered', () => {
    const bad = (level: number) => packet(0x10, text('MQTT'), Buffer.from([level, 3]), u16(60));
    for (const [level, version] of [
      [4, 4],
      [5, 5],
      [6, undefined],
    ] as const) {
      const one = decoder();
      expect(decode(one, [bad(level)]).violation).toBeDefined();
      expect(one.version).toBe(version);
    }
  });

  it('does not ask whether it may receive before a packet begins', () => {
    const asked: number[] = [];
    const publish = packet(0x30, text('a'), Buffer.from('x'));
    decode(decoder(), [connect('client-1'), publish, Buffer.alloc(0)], (first) => {
      asked.push(first);
      return false;
    });
    expect(asked).toEqual([0x10, 0x30]);
  });
});
