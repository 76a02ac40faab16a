import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { TokenRecord } from '../registry/index.ts';
import { LoadTestFollower } from './load-test-follower.ts';
import { createLogger } from './logger.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('a registry that cannot be read is asked once at a time, and one line says so until it can be read again', async () => {
  const lines: string[] = [];
  const asked: PromiseWithResolvers<readonly TokenRecord[]>[] = [];
  const starting = LoadTestFollower.start({
    registry: {
      listLoadTests: () => {
        const answer = Promise.withResolvers<readonly TokenRecord[]>();
        asked.push(answer);
        return answer.promise;
      },
    },
    loadTests: { replace: () => {} },
    log: createLogger('info', { write: (text) => void lines.push((JSON.parse(text) as { msg: string }).msg) }),
  });
  asked[0]?.resolve([]);
  const follower = await starting;
  await vi.advanceTimersByTimeAsync(5_000);
  expect(asked).toHaveLength(2);
  for (const outage of [1, 2]) {
    for (let times = 0; times < 3; times += 1) {
      asked.at(-1)?.reject(new Error('the database is gone'));
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(lines).toEqual(Array(outage).fill('load tests were not read'));
    asked.at(-1)?.resolve([]);
    await vi.advanceTimersByTimeAsync(1_000);
  }
  asked.at(-1)?.resolve([]);
  await follower.close();
});
