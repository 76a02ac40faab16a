import { afterEach, describe, expect, it, vi } from 'vitest';
import { KeepAliveTimer } from './keep-alive.ts';

afterEach(() => {
  vi.useRealTimers();
});

function start(timeout: number) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  let lastReceivedAt = performance.now();
  let times = 0;
  const expired = () => {
    times += 1;
  };
  const silence = new KeepAliveTimer({ timeout, lastReceivedAt: () => lastReceivedAt, expired });
  const hear = () => {
    lastReceivedAt = performance.now();
  };
  return { silence, hear, times: () => times };
}

describe('the keep-alive timer', () => {
  it('expires once when no packet was received for the timeout', () => {
    const { times } = start(1_500);
    vi.advanceTimersByTime(1_490);
    expect(times()).toBe(0);
    vi.advanceTimersByTime(20);
    expect(times()).toBe(1);
    vi.advanceTimersByTime(10_000);
    expect(times()).toBe(1);
  });

  it('measures from the last received packet', () => {
    const { hear, times } = start(1_500);
    for (let second = 0; second < 10; second += 1) {
      vi.advanceTimersByTime(1_000);
      hear();
    }
    vi.advanceTimersByTime(1_490);
    expect(times()).toBe(0);
    vi.advanceTimersByTime(20);
    expect(times()).toBe(1);
  });

  it('does not expire after it was stopped', () => {
    const { silence, times } = start(1_500);
    silence.stop();
    vi.advanceTimersByTime(10_000);
    expect([times(), vi.getTimerCount()]).toEqual([0, 0]);
  });
});
