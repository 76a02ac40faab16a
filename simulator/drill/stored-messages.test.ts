import { expect, it } from 'vitest';
import { countLostMessages } from './stored-messages.ts';

async function* exported(...lines: readonly object[]): AsyncGenerator<Buffer> {
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  const half = Math.floor(text.length / 2);
  yield Buffer.from(text.slice(0, half));
  yield Buffer.from(text.slice(half));
}

const message = (device: string, seq: number) => ({ device, stream: 'temperature', payload: { seq, value: 20 } });

it('counts what was acknowledged and is not stored, once for each message, and not what others stored more than once', async () => {
  const devices = [
    { id: 'a', acknowledged: 3 },
    { id: 'b', acknowledged: 1 },
    { id: undefined, acknowledged: 0 },
  ];
  const all = [message('a', 1), message('a', 2), message('a', 3), message('b', 1), message('other', 9)];
  expect(await countLostMessages(devices, exported(...all))).toBe(0);
  const twice = [message('a', 1), message('a', 1), message('a', 2), message('b', 1), message('b', 2)];
  expect(await countLostMessages(devices, exported(...twice))).toBe(1);
  expect(await countLostMessages(devices, exported())).toBe(4);
});
