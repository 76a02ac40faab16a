/** What callers of the intake are told, whatever the writer does. */

import { Problem } from '@rollcall/protocol';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { message } from '../test/behaviour/telemetry-messages.ts';
import { INTAKE_LIMITS, Intake, type IntakeLimits } from './intake.ts';
import type { TelemetryMessage } from './telemetry.ts';

const FULL = new Problem('unavailable', { reason: 'SQLITE_FULL' });

/** An intake whose writer does what the test says, one write after the other. */
function intakeWith(limits: Partial<IntakeLimits> = {}) {
  let now = 0;
  const asked: { readonly texts: string[]; end(outcome?: unknown): void }[] = [];
  let arrived = Promise.withResolvers<void>();
  const intake = new Intake({
    limits: { ...INTAKE_LIMITS, retryEvery: 1, ...limits },
    now: () => now,
    log: pino({ level: 'silent' }),
    write: (messages: readonly TelemetryMessage[]) =>
      new Promise((resolve, reject) => {
        asked.push({
          texts: messages.map(({ payload }) => `${payload}`),
          end: (failure) => (failure === undefined ? resolve({ repeated: [] }) : reject(failure)),
        });
        arrived.resolve();
      }),
  });
  return {
    intake,
    accept: (text: string, qos: 0 | 1 = 1) => intake.accept({ ...message('pump-1', text), qos }),
    submit: (text: string, told: string[], qos: 0 | 1 = 1) =>
      new Promise<void>((settled) => {
        const tell = (what: string) => {
          told.push(`${text} ${what}`);
          settled();
          if (text === 'fails') throw new Error('it fails');
        };
        const waiting = {
          stored: () => tell('stored'),
          repeated: () => tell('repeated'),
          notStored: () => tell('not stored'),
        };
        intake.submit({ ...message('pump-1', text), qos }, waiting);
      }),
    pass: (ms: number) => {
      now += ms;
    },
    /** The next write that is asked for. */
    nextWrite: async () => {
      while (asked.length === 0) {
        await arrived.promise;
        arrived = Promise.withResolvers();
      }
      return asked.shift() as (typeof asked)[number];
    },
  };
}

function outcomeOf(promise: Promise<unknown>): { current: string } {
  const outcome = { current: 'waiting' };
  promise.then(
    () => {
      outcome.current = 'stored';
    },
    () => {
      outcome.current = 'refused';
    },
  );
  return outcome;
}

describe('the intake', () => {
  it('gathers while a batch is being written, and has one written after the other', async () => {
    const { accept, nextWrite } = intakeWith();
    const first = outcomeOf(accept('a'));
    const writing = await nextWrite();
    const rest = ['b', 'c'].map((text) => accept(text));
    expect([writing.texts, first.current]).toEqual([['a'], 'waiting']);
    writing.end();
    const next = await nextWrite();
    expect([next.texts, first.current]).toEqual([['b', 'c'], 'stored']);
    next.end();
    await Promise.all(rest);
  });

  it('calls the callbacks of submitted messages in order, even when one of them throws', async () => {
    const { submit, nextWrite, intake } = intakeWith({ patience: 0, batchEntries: 4 });
    const told: string[] = [];
    for (const text of ['a', 'fails', 'b']) submit(text, told);
    submit('c', told, 0);
    expect(told).toEqual(['c stored']);
    (await nextWrite()).end();
    const next = submit('d', told);
    (await nextWrite()).end(FULL);
    await next;
    expect(told).toEqual(['c stored', 'a stored', 'fails stored', 'b stored', 'd not stored']);
    await intake.close();
    submit('e', told);
    expect(told.at(-1)).toBe('e not stored');
  });

  it('does not wait for others once a batch is full, in number or in bytes', async () => {
    const { accept, nextWrite } = intakeWith({ window: 1e6, batchEntries: 3, batchBytes: 5000 });
    for (const text of ['a', 'b', 'c', 'd']) void accept(text);
    const writing = await nextWrite();
    expect(writing.texts).toHaveLength(3);
    void accept('x'.repeat(5000));
    writing.end();
    expect((await nextWrite()).texts).toHaveLength(2);
  });

  it('holds what storage can not take now, and stores it in order once storage can', async () => {
    const { accept, nextWrite, intake } = intakeWith();
    const pressure: boolean[] = [];
    intake.onPressure((isUnderPressure) => pressure.push(isUnderPressure));
    const held = outcomeOf(accept('a'));
    (await nextWrite()).end(FULL);
    const again = await nextWrite();
    const later = accept('b');
    again.end(FULL);
    const third = await nextWrite();
    expect([third.texts, held.current, pressure]).toEqual([['a'], 'waiting', [true]]);
    third.end();
    (await nextWrite()).end();
    await later;
    expect([held.current, pressure]).toEqual(['stored', [true, false]]);
    expect(intake.counters()).toMatchObject({ stored: 2, refused: 0, commits: 2, queuedBytes: 0 });
  });

  it('refuses what it has held longer than its patience, and tries the next batch', async () => {
    const { accept, nextWrite, pass, intake } = intakeWith({ patience: 1000 });
    const held = accept('a');
    (await nextWrite()).end(FULL);
    const again = await nextWrite();
    const later = accept('b');
    pass(1000);
    again.end(FULL);
    await expect(held).rejects.toBe(FULL);
    expect(intake.counters().isUnderPressure).toBe(true);
    (await nextWrite()).end();
    await later;
    expect(intake.counters()).toMatchObject({ stored: 1, refused: 1, isUnderPressure: false });
  });

  it('is no longer under pressure when nothing is left to retry', async () => {
    const { accept, nextWrite, intake } = intakeWith({ patience: 0 });
    const given = accept('a');
    (await nextWrite()).end(FULL);
    await expect(given).rejects.toBe(FULL);
    expect(intake.counters()).toMatchObject({ refused: 1, isUnderPressure: false });
  });

  it('refuses at once what a writer that died may or may not have stored', async () => {
    const { accept, nextWrite, intake } = intakeWith();
    const lost = accept('a');
    const lostToo = accept('b', 0);
    const died = new Problem('internal', { reason: 'the thread ended' });
    (await nextWrite()).end(died);
    await expect(lost).rejects.toBe(died);
    await lostToo;
    expect(intake.counters()).toMatchObject({ stored: 0, refused: 1, droppedQos0: 1, isUnderPressure: false });
  });

  it('bounds what waits: pressure first, then QoS 0 is dropped and the rest refused', async () => {
    const { accept, nextWrite, intake } = intakeWith({ queuedBytes: 10_000 });
    const pressure: boolean[] = [];
    intake.onPressure((isUnderPressure) => pressure.push(isUnderPressure));
    const fitting = Array.from({ length: 7 }, () => accept('x'.repeat(1000)));
    expect(pressure).toEqual([true]);
    await expect(accept('x'.repeat(1000))).rejects.toMatchObject({ code: 'unavailable' });
    await accept('x'.repeat(1000), 0);
    expect(intake.counters()).toMatchObject({ refused: 1, droppedQos0: 1, isUnderPressure: true });
    (await nextWrite()).end();
    await Promise.all(fitting);
    expect(pressure).toEqual([true, false]);
    expect(intake.counters()).toMatchObject({ stored: 7, queuedBytes: 0 });
  });

  it('counts user properties among the bytes that wait, and an empty one for what it takes in memory', async () => {
    const { intake, nextWrite } = intakeWith({ queuedBytes: 100_000, batchBytes: 1e6 });
    const many = Array.from({ length: 32 }, () => ['', ''] as const);
    const large = [['name', '温'.repeat(20_000)]] as const;
    const accepted = [
      intake.accept({ ...message('pump-1', ''), userProperties: many }),
      intake.accept({ ...message('pump-1', ''), userProperties: large, contentType: 'text/plain' }),
    ];
    expect(intake.counters().queuedBytes).toBeGreaterThan(32 * 64 + 60_000);
    const more = intake.accept({ ...message('pump-1', ''), userProperties: large });
    await expect(more).rejects.toMatchObject({ code: 'unavailable' });
    (await nextWrite()).end();
    await Promise.all(accepted);
    expect(intake.counters()).toMatchObject({ stored: 2, queuedBytes: 0 });
  });

  it('when closed stores what waits, retries once what it holds, and accepts nothing more', async () => {
    const { accept, nextWrite, intake } = intakeWith({ retryEvery: 1e6, window: 1e6, batchEntries: 1 });
    const held = accept('a');
    (await nextWrite()).end(FULL);
    const waiting = accept('b');
    await Promise.resolve();
    const closing = intake.close();
    await expect(accept('c')).rejects.toMatchObject({ code: 'unavailable' });
    (await nextWrite()).end(FULL);
    (await nextWrite()).end();
    await closing;
    await expect(held).rejects.toBe(FULL);
    await waiting;
  });
});
