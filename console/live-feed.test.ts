import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Position, parsePosition } from '../telemetry/index.ts';
import { type LiveBatch, LiveFeeds, type StreamedMessage } from './live-feed.ts';

/** A journal whose listeners the test calls. */
class ScriptedJournal {
  readonly listeners = new Set<(message: StreamedMessage) => void>();
  #position = 0;

  readonly follow = (listener: (message: StreamedMessage) => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** One commit. */
  store(count: number, json = '1'): void {
    for (let stored = 0; stored < count; stored += 1) {
      this.#position += 1;
      for (const listener of this.listeners)
        listener({ position: parsePosition(this.#position) as Position, type: 't', json });
    }
  }
}

function opened() {
  const [journal, feeds] = [new ScriptedJournal(), new LiveFeeds()];
  const reader = (filter = '') => {
    const batches: LiveBatch[] = [];
    return { batches, leave: feeds.follow(filter, journal.follow, (batch) => batches.push(batch)) };
  };
  return { journal, reader };
}

const positionsOf = (batches: readonly LiveBatch[]) =>
  batches.map(({ messages }) => messages.map(({ position }) => position));

describe('a live feed', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('sends the messages of a commit at once, and those of the following fifth of a second together', async () => {
    const { journal, reader } = opened();
    const { batches } = reader();
    journal.store(2);
    await vi.advanceTimersByTimeAsync(0);
    expect(positionsOf(batches)).toEqual([[1, 2]]);
    journal.store(1);
    await vi.advanceTimersByTimeAsync(150);
    journal.store(1);
    expect(batches).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(50);
    expect(positionsOf(batches)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    await vi.advanceTimersByTimeAsync(1_000);
    journal.store(1);
    await vi.advanceTimersByTimeAsync(0);
    expect(positionsOf(batches).at(-1)).toEqual([5]);
  });

  it('gives the same bytes to all readers of a filter, whose journal is followed once', async () => {
    const { journal, reader } = opened();
    const [one, two, other] = [reader('a'), reader('a'), reader('b')];
    expect(journal.listeners.size).toBe(2);
    journal.store(1, '"\u202e"');
    await vi.advanceTimersByTimeAsync(0);
    expect(one.batches[0]?.bytes).toBe(two.batches[0]?.bytes);
    expect(other.batches[0]?.bytes.toString()).toBe('id: 1\nevent: t\ndata: "\\u202e"\n\n');
    one.leave();
    two.leave();
    other.leave();
    expect(journal.listeners.size).toBe(0);
    const later = reader('a');
    journal.store(1);
    await vi.advanceTimersByTimeAsync(0);
    expect(positionsOf(later.batches)).toEqual([[2]]);
  });

  it('sends before the time is over what is more than 64 KiB', async () => {
    const { journal, reader } = opened();
    const { batches } = reader();
    journal.store(1);
    await vi.advanceTimersByTimeAsync(0);
    journal.store(1, `"${'x'.repeat(65_536)}"`);
    expect(positionsOf(batches)).toEqual([[1], [2]]);
  });
});
