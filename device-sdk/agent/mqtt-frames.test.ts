import { expect, it } from 'vitest';
import { FrameError, MqttFrames } from './mqtt-frames.ts';

const PING = Buffer.from([0xc0, 0]);
const LONG = Buffer.concat([Buffer.from([0x30, 0x80, 0x01]), Buffer.alloc(128, 7)]);

it('gives whole packets, however the bytes come', () => {
  const bytes = Buffer.concat([PING, LONG, PING]);
  for (let size = 1; size <= bytes.length; size += 1) {
    const frames = new MqttFrames(1_000);
    const found: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) found.push(...frames.push(bytes.subarray(at, at + size)));
    expect(found).toEqual([PING, LONG, PING]);
  }
});

it('refuses a packet by the length it declares, before its bytes are there', () => {
  expect(() => new MqttFrames(100).push(LONG.subarray(0, 3))).toThrow(FrameError);
  expect(new MqttFrames(131).push(LONG)).toHaveLength(1);
});

it('refuses a length of five bytes [MQTT-2.2.3]', () => {
  expect(() => new MqttFrames(1_000).push(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x01]))).toThrow(
    'at most four bytes',
  );
});
