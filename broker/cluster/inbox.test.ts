import { pino } from 'pino';
import { expect, it, vi } from 'vitest';
import { Inbox, type InboxOptions } from './inbox.ts';

const about = JSON.stringify({ kind: 'node gone', node: 'c' });
const row = (number: number) => ({ from_node: 'b', number, about, payload: Buffer.alloc(0) });

it('a message is applied only when there is room for what it changes', async () => {
  let rows = [row(1), row(2), row(3)];
  let hasRoom = true;
  const stored = Promise.withResolvers<void>();
  const applied: number[] = [];
  const waiting = vi.fn();
  const inbox = new Inbox({
    database: {
      query: async ({ name }: { readonly name: string }) => ({ rows: name === 'sessions read messages' ? rows : [] }),
    },
    nodes: { name: 'a', find: () => ({ number: 0 }) },
    commits: {
      hasRoomFor: () => hasRoom,
      add({ name, values }: { readonly name: string; readonly values: readonly unknown[] }) {
        if (name === 'dropNodeMessages') rows = rows.filter(({ number }) => number > (values[2] as number));
      },
      durable() {
        if (hasRoom) return Promise.resolve();
        waiting();
        return stored.promise;
      },
    },
    wakes: { onWake: () => () => {} },
    log: pino({ level: 'silent' }),
    outdated: () => {},
    apply(_: unknown, __: string, number: number) {
      applied.push(number);
      hasRoom = number !== 2 && hasRoom;
    },
  } as unknown as InboxOptions);
  await inbox.open();
  await expect.poll(() => waiting.mock.calls.length).toBeGreaterThan(0);
  expect(applied).toEqual([1, 2]);
  expect(rows).toEqual([row(3)]);
  hasRoom = true;
  stored.resolve();
  await expect.poll(() => rows.length).toBe(0);
  expect(applied).toEqual([1, 2, 3]);
  inbox.close();
});
