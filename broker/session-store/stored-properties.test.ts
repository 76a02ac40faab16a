import type { MessageProperties } from '@rollcall/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeProperties, encodeProperties, ownProperties, propertyBytes } from './stored-properties.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 20 });
const properties: fc.Arbitrary<MessageProperties> = fc.record(
  {
    payloadFormatIndicator: fc.constantFrom(0 as const, 1 as const),
    contentType: text,
    responseTopic: text,
    correlationData: fc.uint8Array({ maxLength: 20 }),
    userProperties: fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 5 }),
  },
  { requiredKeys: [] },
);

describe('stored properties', () => {
  it('are read as they were written, user properties in their order', () => {
    fc.assert(
      fc.property(properties, (written) => {
        const read = decodeProperties(encodeProperties(written));
        const { correlationData, ...others } = read ?? {};
        const { correlationData: data, ...rest } = written;
        expect(others).toEqual(rest);
        expect(correlationData && [...correlationData]).toEqual(data && [...data]);
        expect(propertyBytes(read)).toBe(propertyBytes(written));
      }),
    );
  });

  it('are nothing when there are none', () => {
    expect([encodeProperties(undefined), decodeProperties(null), propertyBytes(undefined)]).toEqual([
      null,
      undefined,
      0,
    ]);
  });

  it('do not refer to the received chunk', () => {
    const chunk = Buffer.from('.data.');
    const own = ownProperties({ contentType: 'x', correlationData: chunk.subarray(1, 5) });
    chunk.fill('!');
    expect(own?.contentType).toBe('x');
    expect(String(Buffer.from(own?.correlationData ?? []))).toBe('data');
  });
});
