/** The exact bytes of what the server sends, where a clause leaves no choice. */

import { ReasonCode } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import {
  encodeAcknowledgement,
  encodeConnack,
  encodeDisconnect,
  encodePublish,
  encodeSuback,
  encodeUnsuback,
  PINGRESP,
} from './packet-encoder.ts';

const hex = (bytes: Buffer) => bytes.toString('hex');
const publish = { topic: 'a', payload: Buffer.from('x'), qos: 0, retain: false, dup: false, packetId: 0 } as const;

describe('the packet encoder', () => {
  it('writes CONNACK in each version, a refusal never with Session Present', () => {
    expect(hex(encodeConnack(4, { sessionPresent: true, reasonCode: ReasonCode.success }))).toBe('20020100');
    expect(hex(encodeConnack(5, { sessionPresent: true, reasonCode: ReasonCode.success }))).toBe('2003010000');
    expect(hex(encodeConnack(4, { sessionPresent: true, reasonCode: ReasonCode.notAuthorized }))).toBe('20020005');
    expect(hex(encodeConnack(5, { sessionPresent: true, reasonCode: ReasonCode.notAuthorized }))).toBe('2003008700');
  });

  it('leaves a reason code of 0 out of acknowledgements, and every reason with MQTT 3.1.1', () => {
    expect(hex(encodeAcknowledgement(4, 4, 0x1234, ReasonCode.success))).toBe('40021234');
    expect(hex(encodeAcknowledgement(5, 6, 0x1234, ReasonCode.success))).toBe('62021234');
    expect(hex(encodeAcknowledgement(5, 5, 0x1234, ReasonCode.notAuthorized))).toBe('5003123487');
    expect(hex(encodeAcknowledgement(4, 7, 0x1234, ReasonCode.packetIdentifierNotFound, 'why'))).toBe('70021234');
    expect(hex(encodeAcknowledgement(5, 7, 1, ReasonCode.packetIdentifierNotFound, 'w'))).toBe('7008000192041f000177');
  });

  it('writes one code for each filter, which MQTT 3.1.1 does not have in UNSUBACK', () => {
    expect(hex(encodeSuback(4, 1, [0, 2, 0x87]))).toBe('90050001000280');
    expect(hex(encodeSuback(5, 1, [0, 2, 0x87]))).toBe('9006000100000287');
    expect(hex(encodeUnsuback(4, 1, [0, 0x11]))).toBe('b0020001');
    expect(hex(encodeUnsuback(5, 1, [0, 0x11]))).toBe('b0050001000011');
  });

  it('writes PUBLISH with a property length in MQTT 5 only, and an identifier with QoS 1 and 2 only', () => {
    expect(hex(encodePublish(4, publish))).toBe('300400016178');
    expect(hex(encodePublish(5, publish))).toBe('30050001610078');
    expect(hex(encodePublish(4, { ...publish, qos: 2, dup: true, retain: true, packetId: 7 }))).toBe(
      '3d06000161000778',
    );
    const alias = { ...publish, topic: '', topicAlias: 3, properties: { userProperties: [['n', 'v']] as const } };
    expect(hex(encodePublish(4, { ...alias, topic: 'a' }))).toBe('300400016178');
    expect(hex(encodePublish(5, alias))).toBe('300e00000a2300032600016e00017678');
  });

  it('writes a remaining length of each size', () => {
    for (const [bytes, header] of [
      [124, 2],
      [125, 3],
      [16_380, 3],
      [16_381, 4],
      [2_097_148, 4],
      [2_097_149, 5],
    ] as const) {
      const packet = encodePublish(4, { ...publish, payload: Buffer.alloc(bytes) });
      expect(packet.length).toBe(header + 3 + bytes);
    }
  });

  it('refuses a text that no length field can hold', () => {
    const long = 'x'.repeat(65_536);
    expect(() => encodePublish(4, { ...publish, topic: long })).toThrow(RangeError);
    expect(() => encodePublish(5, { ...publish, properties: { contentType: long } })).toThrow(RangeError);
    expect(() => encodeDisconnect(ReasonCode.unspecifiedError, { reasonString: long })).toThrow(RangeError);
  });

  it('writes DISCONNECT and PINGRESP', () => {
    expect(hex(encodeDisconnect(ReasonCode.administrativeAction))).toBe('e0029800');
    expect(hex(encodeDisconnect(ReasonCode.useAnotherServer, { serverReference: 'b' }))).toBe('e0069c041c000162');
    expect(hex(PINGRESP)).toBe('d000');
  });
});
