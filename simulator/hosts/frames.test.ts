import { describe, expect, it } from 'vitest';
import { FLEET_NAMES } from '../devices/broker-names.ts';
import { encodeFrame, FrameReader, FrameRefused, readMessage, UNAUTHENTICATED_FRAME_BYTES } from './frames.ts';
import { fromHost, toHost } from './host-messages.ts';

function readAll(bytes: Buffer, size: number, most = 1_000): string[] {
  const reader = new FrameReader(() => most);
  const texts: string[] = [];
  for (let at = 0; at < bytes.length; at += size)
    reader.push(bytes.subarray(at, at + size), (text) => texts.push(text));
  return texts;
}

describe('a frame', () => {
  it.each([1, 3, 7, 1_000])('is read whole when it comes in pieces of %i bytes', (size) => {
    const bytes = Buffer.concat([encodeFrame({ a: 'ü' }), encodeFrame({}), encodeFrame([1, 2])]);
    expect(readAll(bytes, size)).toEqual(['{"a":"ü"}', '{}', '[1,2]']);
  });

  it('that says it is too long is refused at its head, before anything of it is kept', () => {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(UNAUTHENTICATED_FRAME_BYTES + 1);
    expect(() => readAll(head, 4, UNAUTHENTICATED_FRAME_BYTES)).toThrow(
      new FrameRefused(
        `expected a message of at most ${UNAUTHENTICATED_FRAME_BYTES} bytes, found ${UNAUTHENTICATED_FRAME_BYTES + 1}`,
      ),
    );
  });
});

describe('a message', () => {
  it.each([
    ['no JSON', '{'],
    ['of an unknown kind', '{"kind":"shell"}'],
    ['from a shard with a counter that there is none of', second({ counts: { __proto__: 1, hacked: 1 } })],
    ['from a shard with an error that is no word', second({ errors: { '<b>': 1 } })],
    ['from a shard with a reason code that is no word', second({ reasons: { '<b>': 1 } })],
    ['from a shard with a count that is no number', second({ counts: { sent: '1' } })],
  ])('%s is refused', (_, text) => {
    expect(() => readMessage(fromHost, text)).toThrow(FrameRefused);
  });

  it('of a host is read', () => {
    expect(readMessage(fromHost, second({ counts: { sent: 3 }, errors: { ECONNRESET: 1 } }))).toMatchObject({
      shard: 2,
      message: { kind: 'second', counters: { counts: { sent: 3 } } },
    });
  });

  it('of a coordinator pass on the version of MQTT of each device, and what a group says about sessions and wills', () => {
    const device = { index: 0, position: 0, id: 'a-1', group: 'a', mqtt: 5, arrivesAt: 0 };
    const settings = { count: 1, kind: 'light', publish: [], sessionExpiry: 60_000, will: { stream: 'status' } };
    const config = {
      ...{
        shard: 0,
        seed: 1,
        devices: [device],
        broker: { rootPem: '', clientChain: 'leaf', names: FLEET_NAMES },
        rootPem: '',
        mqtt: { host: 'localhost', port: 1 },
        clockOffset: 0,
      },
      ...{ groups: { a: { settings, recordings: {}, faults: [] } }, sourceAddresses: [], identities: 'dropped' },
    };
    const text = (changed: object) =>
      JSON.stringify({ kind: 'shard', shard: 0, message: { kind: 'prepare', config: { ...config, ...changed } } });
    expect(readMessage(toHost, text({}))).toMatchObject({
      message: { config: { devices: [device], groups: { a: { settings } } } },
    });
    expect(() => readMessage(toHost, text({ devices: [{ ...device, mqtt: 3 }] }))).toThrow(FrameRefused);
  });

  it('of a coordinator with a shard configuration that has missing fields is refused', () => {
    const text = JSON.stringify({ kind: 'shard', shard: 0, message: { kind: 'prepare', config: { shard: 0 } } });
    expect(() => readMessage(toHost, text)).toThrow(FrameRefused);
  });
});

function second(counters: { readonly counts?: object; readonly errors?: object; readonly reasons?: object }): string {
  const deviceCounts = { connected: 0, inFleet: 0, refused: 0, connectionRefused: 0, waiting: 0, unacknowledged: 0 };
  const whole = { counts: {}, errors: {}, reasons: {}, latencies: {}, ...counters };
  return JSON.stringify({
    kind: 'shard',
    shard: 2,
    message: { kind: 'second', counters: whole, deviceCounts, cpuMicros: 1 },
  });
}
