/** Batches that several threads send at once, over real message ports. */

import { MessageChannel } from 'node:worker_threads';
import { expect, it, onTestFinished } from 'vitest';
import { message } from '../../test/behaviour/telemetry-messages.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { Channel } from '../channel.ts';
import { type AppendCalls, AppendPorts } from './append-ports.ts';
import { type Batch, batchTransferList, packBatch } from './batch.ts';
import { Journal } from './journal.ts';
import { JournalReader } from './journal-reader.ts';
import { SentNames } from './source-names.ts';

const ALL = { devices: undefined, stream: undefined, since: 0, until: Number.MAX_SAFE_INTEGER };

function openJournal() {
  const directory = temporaryDirectory();
  const journal = new Journal({ directory });
  const reader = new JournalReader(directory);
  const commits: number[] = [];
  const ports = new AppendPorts({ journal: () => journal, stored: (sent) => commits.push(sent.length) });
  /** What a thread sends over a port of its own. */
  const connect = () => {
    const { port1, port2 } = new MessageChannel();
    ports.add(port1);
    const channel = new Channel<AppendCalls, Record<never, never>>(port2, { name: 'the journal', failed: () => {} });
    const names = new SentNames();
    onTestFinished(() => channel.close());
    const pack = (device: string, ...texts: string[]) =>
      packBatch(
        texts.map((text) => ({ ...message(device, text), key: text })),
        names,
      );
    const send = (batch: Batch) => channel.call('append', batch, batchTransferList(batch));
    return { names, pack, send, append: (device: string, ...texts: string[]) => send(pack(device, ...texts)) };
  };
  onTestFinished(() => {
    journal.close();
    reader.close();
  });
  const stored = () => reader.page(ALL, 0, 1000, 1e9).map(({ source, payload }) => `${source.device} ${payload}`);
  return { connect, commits, stored };
}

it('batches that arrive together from several threads are one commit, and each is answered with its own positions', async () => {
  const { connect, commits, stored } = openJournal();
  const [one, other, third] = [connect(), connect(), connect()];
  await connect().append('pump-1', 'a');
  const sent = [
    ['pump-1', 'b', 'a', 'c'],
    ['pump-2', 'd', 'e'],
    ['pump-1', 'c', 'f'],
  ] as const;
  const answers = await Promise.all([one.append(...sent[0]), other.append(...sent[1]), third.append(...sent[2])]);
  expect(commits).toEqual([1, 3]);
  const found = stored();
  expect(found.toSorted()).toEqual(['pump-1 a', 'pump-1 b', 'pump-1 c', 'pump-1 f', 'pump-2 d', 'pump-2 e']);
  for (const [at, { first, repeated }] of answers.entries()) {
    const [device, ...texts] = sent[at] as (typeof sent)[number];
    const own = texts.filter((_, index) => !repeated.includes(index)).map((text) => `${device} ${text}`);
    expect(found.slice(first - 1, first - 1 + own.length)).toEqual(own);
  }
});

it('a batch that cannot be written takes no other batch with it, and its keys are not known afterwards', async () => {
  const { connect, stored } = openJournal();
  const [one, other] = [connect(), connect()];
  await Promise.all([one.append('pump-1', 'a'), other.append('pump-2', 'b')]);
  const bad = one.pack('pump-1', 'c', 'd');
  const torn = { ...bad, count: 3 }; // the third is missing
  const outcomes = await Promise.allSettled([one.send(torn), other.append('pump-2', 'e')]);
  expect(outcomes).toMatchObject([{ status: 'rejected' }, { status: 'fulfilled', value: { first: 3 } }]);
  one.names.clear();
  expect(await one.append('pump-1', 'c', 'd')).toMatchObject({ first: 4, repeated: [] });
  expect(stored()).toEqual(['pump-1 a', 'pump-2 b', 'pump-2 e', 'pump-1 c', 'pump-1 d']);
});

it('a batch whose names do not follow those before it is refused alone', async () => {
  const { connect, stored } = openJournal();
  const [one, other] = [connect(), connect()];
  const lost = one.pack('pump-1', 'never sent');
  expect(lost.count).toBe(1);
  const outcomes = await Promise.allSettled([one.append('pump-3', 'a'), other.append('pump-2', 'b')]);
  expect(outcomes).toMatchObject([{ status: 'rejected', reason: { code: 'internal' } }, { status: 'fulfilled' }]);
  expect(stored()).toEqual(['pump-2 b']);
});
