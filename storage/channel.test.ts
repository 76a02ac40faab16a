/** Calls and one-way messages between the two ends of a message channel, and over a worker thread. */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MessageChannel, Worker } from 'node:worker_threads';
import { Problem } from '@rollcall/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { AnswerSoon, Channel, Transferring } from './channel.ts';

interface Calls {
  readonly add: { readonly input: { readonly a: number; readonly b: number }; readonly output: number };
  readonly note: { readonly input: unknown; readonly output: unknown };
  readonly fail: { readonly input: string; readonly output: undefined };
}
type None = Record<never, never>;

function twoEnds() {
  const { port1, port2 } = new MessageChannel();
  const failures: { error: unknown; name: string }[] = [];
  const ends: unknown[] = [];
  const failed = (error: unknown, name: string) => failures.push({ error, name });
  const caller = new Channel<Calls, None>(port1, {
    name: 'the other side',
    failed,
    onEnded: (cause) => ends.push(cause),
  });
  const answerer = new Channel<None, Calls>(port2, { name: 'the caller', failed });
  onTestFinished(() => {
    caller.close();
    answerer.close();
  });
  return { caller, answerer, failures, ends, port1, port2 };
}

it('a channel calls handlers in the order of posting, and takes answers in any order', async () => {
  const { caller, answerer } = twoEnds();
  const seen: unknown[] = [];
  const first = Promise.withResolvers<string>();
  answerer.handle('note', (input) => {
    seen.push(input);
    return input === 'first' ? first.promise : input;
  });
  const answers: unknown[] = [];
  const calls = ['first', 'second'].map((input) => caller.call('note', input).then((answer) => answers.push(answer)));
  caller.tell('note', 'third');
  await calls[1];
  first.resolve('answer of the first');
  await calls[0];
  expect([seen, answers]).toEqual([
    ['first', 'second', 'third'],
    ['second', 'answer of the first'],
  ]);
});

it('a channel posts the first entry of a turn alone and all others of the turn together', async () => {
  const { caller, answerer, port1 } = twoEnds();
  answerer.handle('add', ({ a, b }) => a + b);
  const posts: number[] = [];
  const post = port1.postMessage.bind(port1) as (entries: unknown[], transfer: []) => void;
  port1.postMessage = ((entries: unknown[], transfer: []) => {
    posts.push(entries.length / 4);
    post(entries, transfer);
  }) as typeof port1.postMessage;
  const sums = [caller.call('add', { a: 1, b: 1 })];
  await Promise.resolve();
  expect(posts).toEqual([1]);
  for (const a of [2, 3, 4]) {
    sums.push(caller.call('add', { a, b: 0 }));
    await Promise.resolve();
  }
  expect(await Promise.all(sums)).toEqual([2, 2, 3, 4]);
  expect(posts).toEqual([1, 3]);
});

it('what may wait is posted with the next entry, in order, or by itself after a while', async () => {
  const { caller, answerer, port1 } = twoEnds();
  const seen: unknown[] = [];
  const third = Promise.withResolvers<void>();
  answerer.handle('note', (input) => {
    seen.push(input);
    if (input === 'third') third.resolve();
    return input;
  });
  let posts = 0;
  const post = port1.postMessage.bind(port1) as (entries: unknown[], transfer: []) => void;
  port1.postMessage = ((entries: unknown[], transfer: []) => {
    posts += 1;
    post(entries, transfer);
  }) as typeof port1.postMessage;
  caller.tellSoon('note', 'first');
  await Promise.resolve();
  expect(posts).toBe(0);
  await caller.call('note', 'second');
  expect([posts, seen]).toEqual([1, ['first', 'second']]);
  caller.tellSoon('note', 'third');
  await third.promise;
  expect(seen).toEqual(['first', 'second', 'third']);
  caller.tellSoon('note', 'fourth');
  caller.close();
  await expect.poll(() => seen).toEqual(['first', 'second', 'third', 'fourth']);
});

it('an answer that nobody waits for comes with the next entry, or by itself after a while', async () => {
  const { caller, answerer } = twoEnds();
  answerer.handle('note', (input) => (input === 'soon' ? new AnswerSoon(input) : input));
  const answers: unknown[] = [];
  const soon = caller.call('note', 'soon').then((answer) => answers.push(answer));
  await caller.call('note', 'now').then((answer) => answers.push(answer));
  expect(answers).toEqual(['soon', 'now']);
  await soon;
  expect(await caller.call('note', 'soon')).toBe('soon');
});

it('a Problem keeps its code, sentence, reason, hint and time across a channel', async () => {
  const { caller, answerer } = twoEnds();
  answerer.handle('fail', (input) => {
    if (input === 'async') return Promise.reject(new Error('a defect'));
    throw new Problem('rate_limited', { detail: 'a sentence', reason: 'the reason', hint: 'the hint', retryAfter: 7 });
  });
  const problem = (await caller.call('fail', 'sync').catch((error: unknown) => error)) as Problem;
  expect(problem).toBeInstanceOf(Problem);
  const { code, status, detail, reason, hint, retryAfter } = problem;
  expect({ code, status, detail, reason, hint, retryAfter }).toEqual({
    code: 'rate_limited',
    status: 429,
    detail: 'a sentence',
    reason: 'the reason',
    hint: 'the hint',
    retryAfter: 7,
  });
  await expect(caller.call('fail', 'async')).rejects.toMatchObject({ code: 'internal', reason: 'a defect' });
  await expect(caller.call('add', { a: 1, b: 2 })).rejects.toMatchObject({ reason: expect.stringContaining('add') });
});

it('what the handler of a one-way message throws is reported on the side of the handler', async () => {
  const { caller, answerer, failures } = twoEnds();
  answerer.handle('note', (input) => input);
  answerer.handle('fail', (input) => {
    if (input === 'async') return Promise.reject(new Error('later'));
    throw new Error('at once');
  });
  caller.tell('fail', 'sync');
  caller.tell('fail', 'async');
  await caller.call('note', 'after both');
  expect(failures).toMatchObject([
    { name: 'fail', error: { message: 'at once' } },
    { name: 'fail', error: { message: 'later' } },
  ]);
});

it('bytes arrive as Buffers, and only the bytes of a view cross', async () => {
  const { caller, answerer } = twoEnds();
  const received: { payload: Buffer; list: [{ bytes: Buffer }] }[] = [];
  answerer.handle('note', (input) => {
    received.push(input as never);
    return input;
  });
  const pool = Buffer.alloc(1_000_000, 'x');
  const sent = { payload: pool.subarray(3, 8), list: [{ bytes: pool.subarray(0, 2) }] };
  const answer = (await caller.call('note', sent)) as typeof sent;
  const [{ payload, list } = expect.fail()] = received;
  expect(
    [payload, list[0].bytes].map((bytes) => [Buffer.isBuffer(bytes), String(bytes), bytes.buffer.byteLength]),
  ).toEqual([
    [true, 'xxxxx', 5],
    [true, 'xx', 2],
  ]);
  expect(Buffer.isBuffer(answer.payload)).toBe(true);
  expect(sent.payload.buffer).toBe(pool.buffer);
});

it('memory in a transfer list is handed over in both directions', async () => {
  const { caller, answerer } = twoEnds();
  let returned: Uint8Array<ArrayBuffer> | undefined;
  answerer.handle('note', () => {
    returned = new Uint8Array([7]);
    return new Transferring({ bytes: returned }, [returned.buffer]);
  });
  const bytes = new Uint8Array([1, 2, 3]);
  expect(await caller.call('note', { bytes: bytes.subarray(1) }, [bytes.buffer])).toEqual({ bytes: Buffer.from([7]) });
  expect([bytes.byteLength, returned?.byteLength]).toEqual([0, 0]);
});

it('an input that cannot be sent is refused alone; what is sent with it arrives', async () => {
  const { caller, answerer, failures } = twoEnds();
  answerer.handle('note', (input) => input);
  const calls = [caller.call('note', 1), caller.call('note', () => {}), caller.call('note', 3)];
  caller.tell('note', { not: () => {} });
  const outcomes = await Promise.allSettled(calls);
  expect(outcomes).toMatchObject([{ value: 1 }, { reason: { code: 'internal' } }, { value: 3 }]);
  expect(failures).toMatchObject([{ name: 'note' }]);
  answerer.handle('note', () => () => {});
  await expect(caller.call('note', 1)).rejects.toMatchObject({ code: 'internal' });
});

it('when the other side ends, pending and later calls are rejected as unavailable, and the owner is told once', async () => {
  const { caller, answerer, ends } = twoEnds();
  answerer.handle('note', () => new Promise(() => {}));
  const pending = caller.call('note', 1);
  answerer.close();
  await expect(pending).rejects.toMatchObject({ code: 'unavailable', reason: 'the other side ended' });
  await expect(caller.call('note', 2)).rejects.toMatchObject({ code: 'unavailable' });
  caller.tell('note', 3);
  expect([ends.length, caller.hasEnded]).toEqual([1, true]);
});

it('a worker thread that ends by an error names it to the caller', async () => {
  const file = join(temporaryDirectory(), 'program.ts');
  const program = new URL('./channel.ts', import.meta.url).href;
  writeFileSync(
    file,
    `import { parentPort } from 'node:worker_threads';
    import { Channel } from '${program}';
    const channel = new Channel(parentPort, { name: 'the main thread', failed: () => {} });
    channel.handle('note', (input) => input);
    channel.handle('fail', () => new Promise(() => setImmediate(() => { throw new Error('died of the test'); })));`,
  );
  const worker = new Worker(pathToFileURL(file));
  const ended = Promise.withResolvers<unknown>();
  const channel = new Channel<Calls, None>(worker, { name: 'the worker', failed: () => {}, onEnded: ended.resolve });
  expect(await channel.call('note', Buffer.from('bytes'))).toEqual(Buffer.from('bytes'));
  await expect(channel.call('fail', '')).rejects.toMatchObject({
    code: 'unavailable',
    reason: 'the worker ended: died of the test',
  });
  expect(await ended.promise).toMatchObject({ message: 'died of the test' });
});
