import fc from 'fast-check';
import mqttPacket from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import {
  DISCONNECT,
  encodeConnect,
  encodePuback,
  encodePublish,
  encodeSubscribe,
  PacketReader,
  PINGREQ,
  type Publish,
} from './mqtt-packets.ts';

/** What another implementation reads in these bytes. */
function readByOthers(bytes: Buffer): readonly object[] {
  const packets: object[] = [];
  const parser = mqttPacket.parser({ protocolVersion: 4 });
  parser.on('packet', (packet) => packets.push(packet));
  parser.on('error', (error) => {
    throw error;
  });
  parser.parse(bytes);
  return packets;
}

const publishes = fc
  .record({
    topic: fc.string({ minLength: 1, maxLength: 80, unit: 'grapheme' }).filter((text) => !/[+#\0]/.test(text)),
    payload: fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom(16_380, 70_000).map((n) => new Uint8Array(n)),
    ),
    qos: fc.constantFrom<0 | 1>(0, 1),
    dup: fc.boolean(),
    retain: fc.boolean(),
    packetId: fc.integer({ min: 1, max: 0xffff }),
  })
  .map(
    (publish): Publish => ({
      ...publish,
      payload: Buffer.from(publish.payload),
      dup: publish.dup && publish.qos === 1,
      packetId: publish.qos === 0 ? 0 : publish.packetId,
    }),
  );

describe('packets that a device writes', () => {
  it('are read by another implementation as they were meant', () => {
    const [connect] = readByOthers(encodeConnect({ clientId: 'dev-7', clean: false, keepalive: 1_200 }));
    expect(connect).toMatchObject({
      cmd: 'connect',
      protocolVersion: 4,
      clientId: 'dev-7',
      clean: false,
      keepalive: 1_200,
    });
    expect(connect).not.toHaveProperty('will');
    expect(readByOthers(encodeConnect({ clientId: 'a', clean: true, keepalive: 15 }))[0]).toMatchObject({
      clean: true,
    });
    const [subscribe] = readByOthers(encodeSubscribe(513, ['a/+', 'b']));
    expect(subscribe).toMatchObject({ cmd: 'subscribe', messageId: 513, qos: 1 });
    expect((subscribe as { subscriptions: object[] }).subscriptions).toMatchObject([
      { topic: 'a/+', qos: 1 },
      { topic: 'b', qos: 1 },
    ]);
    expect(readByOthers(encodePuback(0xfffe))[0]).toMatchObject({ cmd: 'puback', messageId: 0xfffe });
    expect(readByOthers(Buffer.concat([PINGREQ, DISCONNECT])).map((packet) => (packet as { cmd: string }).cmd)).toEqual(
      ['pingreq', 'disconnect'],
    );
  });

  it('hold any message', () => {
    fc.assert(
      fc.property(publishes, (publish) => {
        const { packetId, ...rest } = publish;
        const [read] = readByOthers(encodePublish(publish));
        expect(read).toMatchObject({ cmd: 'publish', ...rest, ...(packetId === 0 ? {} : { messageId: packetId }) });
      }),
      { numRuns: 200 },
    );
  });
});

describe('packets that a device reads', () => {
  it('are those that were written, however the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(publishes, { maxLength: 4 }), fc.array(fc.nat(400)), (written, cuts) => {
        const bytes = Buffer.concat(
          written.map(({ packetId, ...rest }) => mqttPacket.generate({ cmd: 'publish', messageId: packetId, ...rest })),
        );
        const reader = new PacketReader(1_000_000);
        const read: unknown[] = [];
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          read.push(...reader.read(bytes.subarray(at, at + cut)));
          at = Math.min(bytes.length, at + cut);
        }
        expect(read).toEqual(written.map((publish) => ({ kind: 'publish', ...publish })));
      }),
      { numRuns: 200 },
    );
  });

  it('are the answers of a broker', () => {
    const answers = Buffer.concat([
      mqttPacket.generate({ cmd: 'connack', returnCode: 5, sessionPresent: false }),
      mqttPacket.generate({ cmd: 'puback', messageId: 258 }),
      mqttPacket.generate({ cmd: 'suback', messageId: 3, granted: [1, 128] }),
      mqttPacket.generate({ cmd: 'pingresp' }),
    ]);
    expect(new PacketReader(100).read(answers)).toEqual([
      { kind: 'connack', returnCode: 5 },
      { kind: 'puback', packetId: 258 },
      { kind: 'suback', packetId: 3, granted: [1, 128] },
      { kind: 'pingresp' },
    ]);
  });

  it.each([
    ['a length without an end', 'd0ffffffff01'],
    ['more than fits', '30ffff03'],
    ['a publish of QoS 2', '3407000161000161 62'],
    ['a publish shorter than its topic', '300300056162'],
    ['a publish of QoS 1 without an identifier', '3203000161'],
    ['a short CONNACK', '200100'],
    ['flags where there are none', '41020001'],
    ['a packet that only clients send', 'e000'],
    ['a page of HTML', Buffer.from('<!doctype html><html><body>sign in</body></html>').toString('hex')],
  ])('are never %s', (_what, hex) => {
    const reader = new PacketReader(1_000);
    expect(() => reader.read(Buffer.from(hex.replace(' ', ''), 'hex'))).toThrow(RangeError);
  });
});
