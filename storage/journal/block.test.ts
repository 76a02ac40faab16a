import { expect, it } from 'vitest';
import { dataLength, META_BYTES, putMessage, splitBytes, WORDS, wordsOf } from './block.ts';
import type { JournalMessage } from './message.ts';

function blockOf(message: JournalMessage): { readonly meta: Uint32Array; readonly data: Buffer } {
  const meta = wordsOf(Buffer.alloc(META_BYTES));
  const data = Buffer.alloc(dataLength(message));
  putMessage(message, 1, { meta, data, index: 0, start: 0 });
  return { meta, data };
}

const MESSAGE: JournalMessage = {
  ...{ device: 'dev-1', stream: 'heat', receivedAt: Date.UTC(9999, 11, 31), qos: 1, payload: Buffer.from('21') },
  ...{ deviceTime: 5, deviceSequence: 6, key: 'k', payloadFormatIndicator: 1, contentType: 'text/plain' },
};

it('a message of every format that this release writes is read back', () => {
  const { meta, data } = blockOf(MESSAGE);
  const { payload, extras } = splitBytes(meta, 0, data);
  expect([payload.toString(), extras]).toMatchObject(['21', { deviceTime: 5, key: 'k', contentType: 'text/plain' }]);
});

it.each([2, 7, 12, 15])(
  'a message with format bit %d, of a newer release, is refused rather than read as another one',
  (bit) => {
    const { meta, data } = blockOf(MESSAGE);
    const rest = WORDS - 1;
    meta[rest] = (meta[rest] as number) | (1 << bit);
    expect(() => splitBytes(meta, 0, data)).toThrow(
      expect.objectContaining({ code: 'database_newer', reason: expect.stringContaining('known format') }),
    );
  },
);
