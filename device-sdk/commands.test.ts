import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { manualTime } from '../test/fixtures/manual-time.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { FileCommandLedger } from './command-ledger.ts';
import { CommandDispatcher, type CommandHandler } from './commands.ts';
import type { Parser } from './device-schema.ts';
import { SILENT_LOG } from './device-state.ts';
import type { Payload } from './payload.ts';

const ledgers: FileCommandLedger[] = [];
afterEach(async () => {
  for (const ledger of ledgers.splice(0)) await ledger.close();
});

function start(path: string, parsers: Readonly<Record<string, Parser>> = {}) {
  const answers = new Map<string, Payload>();
  const waiting = new Map<string, () => void>();
  const time = manualTime(0);
  const ledger = new FileCommandLedger(path);
  ledgers.push(ledger);
  const dispatcher = new CommandDispatcher({
    respond: async (requestId, payload) => {
      expect(answers.has(requestId), 'one answer').toBe(false);
      answers.set(requestId, payload);
      waiting.get(requestId)?.();
    },
    ...{ ledger, parsers, schedule: time.schedule, log: SILENT_LOG },
  });
  const answered = (requestId: string) =>
    new Promise<Payload>((resolve) => {
      const look = () => resolve(answers.get(requestId) as Payload);
      if (answers.has(requestId)) look();
      else waiting.set(requestId, look);
    });
  const deliver = (requestId: string, payload = '{}', name = 'do') =>
    dispatcher.deliver(name, requestId, Buffer.from(payload));
  return { dispatcher, ledger, answers, answered, deliver, time };
}

const path = () => join(temporaryDirectory(), 'commands.log');

describe('a command', () => {
  it('is on disk before its handler runs, and never runs again, over restarts too', async () => {
    const file = path();
    const first = start(file);
    let runs = 0;
    const handler: CommandHandler = () => {
      expect(readFileSync(file, 'utf8')).toContain('+r-1\n');
      runs += 1;
      return 'done';
    };
    first.dispatcher.register('do', handler);
    await first.deliver('r-1');
    expect(first.deliver('r-1')).toBeUndefined();
    expect(await first.answered('r-1')).toBe('done');
    await first.dispatcher.close();
    const second = start(file);
    second.dispatcher.register('do', handler);
    expect(second.deliver('r-1')).toBeUndefined();
    expect(second.answers.size).toBe(0);
    expect(runs).toBe(1);
  });

  it('that a crash interrupted is answered at the next start, and not run again', async () => {
    const file = path();
    const first = start(file);
    first.dispatcher.register('do', () => new Promise(() => {}));
    await first.deliver('r-1'); // and now the process is gone
    const second = start(file);
    second.dispatcher.register('do', () => expect.unreachable());
    expect(await second.answered('r-1')).toEqual({ error: 'interrupted' });
    expect(second.deliver('r-1')).toBeUndefined();
    await second.dispatcher.close();
    expect(start(file).ledger.interrupted).toEqual([]);
  });

  it('is not begun when that can not be written: the broker sends it again', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'commands.log');
    mkdirSync(file); // nothing can be appended to a directory
    const { dispatcher, deliver, ledger } = start(file);
    dispatcher.register('do', () => expect.unreachable());
    await expect(deliver('r-1')).rejects.toMatchObject({ code: 'EISDIR' });
    expect(ledger.knows('r-1')).toBe(false);
  });

  it('has so long for its answer, and what comes later is not heard', async () => {
    const { dispatcher, deliver, answered, answers, time } = start(path());
    let late: (value: string) => void = () => {};
    let signal: AbortSignal | undefined;
    dispatcher.register(
      'do',
      (command) => {
        signal = command.signal;
        return new Promise((resolve) => {
          late = resolve;
        });
      },
      { timeout: 5 },
    );
    await deliver('r-1');
    time.advance(4_999);
    expect(signal?.aborted).toBe(false);
    time.advance(1);
    expect(await answered('r-1')).toEqual({ error: 'timeout' });
    expect(signal?.aborted).toBe(true);
    late('too late');
    await dispatcher.close();
    expect(answers.size).toBe(1);
  });

  it('reaches its handler as its parser returned it, and not at all if it does not fit', async () => {
    const parser: Parser = {
      parse: (value) => {
        const { percent } = value as { readonly percent?: unknown };
        if (typeof percent !== 'number') throw new Error(`bad: ${JSON.stringify(value)}`);
        return { percent, checked: true };
      },
    };
    const { dispatcher, deliver, answered } = start(path(), { do: parser });
    dispatcher.register('do', (command) => command.json());
    await deliver('r-1', '{"percent":4}');
    await deliver('r-2', '{"percent":"secret"}');
    expect(await answered('r-1')).toEqual({ percent: 4, checked: true });
    expect(JSON.stringify(await answered('r-2'))).toContain('does not fit its schema');
    expect(JSON.stringify(await answered('r-2'))).not.toContain('secret');
  });

  it('without a handler is answered when too many of them wait', async () => {
    const { deliver, answered, answers } = start(path());
    await Promise.all(Array.from({ length: 65 }, (_, n) => deliver(`r-${n}`)));
    expect(await answered('r-0')).toEqual({ error: 'no handler' });
    expect(answers.size).toBe(1);
  });

  it('is one of a thousand that come at once: each runs once and is answered once, a few at a time', async () => {
    const { dispatcher, deliver, answered, answers } = start(path());
    let running = 0;
    let most = 0;
    dispatcher.register('do', async ({ requestId }) => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setImmediate(resolve));
      running -= 1;
      return requestId;
    });
    const ids = Array.from({ length: 1_000 }, (_, n) => `r-${n}`);
    await Promise.all([...ids, ...ids].map((id) => deliver(id)));
    await Promise.all(ids.map(answered));
    expect([...answers]).toHaveLength(1_000);
    expect([...answers].every(([id, answer]) => id === answer)).toBe(true);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(16);
  });
});

describe('the ledger of commands', () => {
  it('is bounded, in memory and on disk', async () => {
    const file = path();
    const ledger = new FileCommandLedger(file);
    for (let round = 0; round < 20; round += 1) {
      const ids = Array.from({ length: 1_000 }, (_, n) => `r-${round}-${n}`);
      await Promise.all(ids.map((id) => ledger.begin(id)));
      for (const id of ids) ledger.end(id);
    }
    await ledger.close();
    expect(ledger.knows('r-0-0')).toBe(false);
    expect(ledger.knows('r-19-0')).toBe(true);
    expect(readFileSync(file, 'utf8').split('\n').length).toBeLessThan(22_000);
    expect(new FileCommandLedger(file).knows('r-19-999')).toBe(true);
  });

  it.each(['+r-', 'garbage\n', '+a/b\n', '\u0000\u0000\n+half'])('passes over a tail of %j', async (tail) => {
    const file = path();
    writeFileSync(file, '+r-1\n-r-1\n');
    appendFileSync(file, tail);
    const ledger = new FileCommandLedger(file);
    await ledger.begin('r-2');
    await ledger.close();
    const again = new FileCommandLedger(file);
    expect([again.knows('r-1'), again.knows('r-2')]).toEqual([true, true]);
    expect(again.interrupted).toEqual(['r-2']);
  });
});
