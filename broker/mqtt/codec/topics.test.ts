/** The decoder checks topics on the bytes, and `protocol/topics.ts` on text: both have to agree. */

import { isTopicFilter, isTopicName, parseShare } from '@rollcall/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decode } from '../../../test/fixtures/broker/decoded-packets.ts';
import { NO_PROPERTIES } from '../../../test/fixtures/broker/mqtt5-corpus/case.ts';
import { connect5 } from '../../../test/fixtures/broker/mqtt5-corpus/connect-cases.ts';
import { connect, packet, text, u8, u16 } from '../../../test/fixtures/broker/packet-parts.ts';
import { DEFAULT_LIMITS, topicLimits } from '../../broker-limits.ts';
import { PacketDecoder } from './packet-decoder.ts';
import { PROPERTY_LIMITS } from './packet-limits.ts';

const limits = { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS, topicBytes: 40, topicLevels: 5 };
const RUNS = { seed: 20_261_129, numRuns: 5_000 };

const parts = fc.array(fc.constantFrom('/', '/', '/', '+', '#', 'a', 'é', '𐀀', '$', '$share', '$share/g/', ' ', '\0'), {
  maxLength: 12,
});
const topics = fc
  .tuple(fc.constantFrom('', '', '$share/', '$share/group/'), parts)
  .map(([start, rest]) => start + rest.join(''));

const isAccepted = (...packets: readonly Buffer[]) =>
  decode(new PacketDecoder(limits), packets).violation === undefined;

function isFilter(filter: string): boolean {
  const { maxBytes, maxLevels } = topicLimits(limits);
  if (!filter.startsWith('$share/')) return isTopicFilter(filter, { maxBytes, maxLevels });
  const share = parseShare(filter);
  if (share === undefined || Buffer.byteLength(filter) > maxBytes || share.group.includes('\0')) return false;
  return isTopicFilter(share.filter, { maxBytes, maxLevels });
}

describe('the packet decoder', () => {
  it('accepts the filters, also of shared subscriptions, that topics.ts accepts, in both versions', () => {
    fc.assert(
      fc.property(topics, (filter) => {
        const expected = isFilter(filter);
        expect(isAccepted(connect('client-1'), packet(0x82, u16(1), text(filter), u8(0)))).toBe(expected);
        expect(isAccepted(connect5(), packet(0x82, u16(1), NO_PROPERTIES, text(filter), u8(0)))).toBe(expected);
        expect(isAccepted(connect5(), packet(0xa2, u16(1), NO_PROPERTIES, text(filter)))).toBe(expected);
      }),
      RUNS,
    );
  });

  it('accepts the topic names that topics.ts accepts, in both versions', () => {
    fc.assert(
      fc.property(topics, (topic) => {
        const expected = isTopicName(topic, topicLimits(limits));
        expect(isAccepted(connect('client-1'), packet(0x30, text(topic)))).toBe(expected);
        expect(isAccepted(connect5(), packet(0x30, text(topic), NO_PROPERTIES))).toBe(expected);
      }),
      RUNS,
    );
  });
});
