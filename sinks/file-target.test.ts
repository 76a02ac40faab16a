import { appendFileSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { DeviceId } from '../contract/identity.ts';
import { openTestJournal } from '../test/testkit/journal.ts';
import { startSink } from '../test/testkit/sink.ts';
import { temporaryDirectory } from '../test/testkit/temporary.ts';
import { FileTarget } from './file-target.ts';

const MIB = 1_048_576;

function linesOf(path: string): readonly { readonly position: number }[] {
  const text = readFileSync(path, 'utf8');
  expect(text.endsWith('\n') || text === '').toBe(true);
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

describe('a file as target', () => {
  it('holds each message on a line, its payload as JSON, as text or as base64', async () => {
    const journal = await openTestJournal();
    const payloads = ['{"n":12345678901234567890}', '{\n "a": 1 }', 'plain \u2028 text', Buffer.from([0xff, 0x00])];
    for (const payload of payloads) {
      await journal.accept({
        device: 'dev-1' as DeviceId,
        stream: 's',
        receivedAt: 0,
        qos: 1,
        payload: Buffer.from(payload as string),
        deviceTime: 1,
        key: String(payload),
      });
    }
    const path = join(temporaryDirectory(), 'out', 'messages.ndjson');
    const target = new FileTarget({ path, rotateBytes: MIB, keep: 1 });
    await (await startSink({ journal, target, directory: temporaryDirectory() })).caughtUp();
    expect(linesOf(path)).toMatchObject([
      { position: 1, device: 'dev-1', receivedAt: '1970-01-01T00:00:00.000Z', deviceTime: '1970-01-01T00:00:00.001Z' },
      { position: 2, payload: { a: 1 } },
      { position: 3, text: 'plain \u2028 text' },
      { position: 4, base64: '/wA=' },
    ]);
    expect(readFileSync(path, 'utf8')).toContain('"payload":{"n":12345678901234567890}}\n');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('begins a new file when one is full, and keeps so many', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 100);
    const directory = temporaryDirectory();
    const path = join(directory, 'm.ndjson');
    const target = new FileTarget({ path, rotateBytes: 2000, keep: 3 });
    await (await startSink({ journal, target, directory: temporaryDirectory(), batch: 10 })).caughtUp();
    expect(readdirSync(directory).sort()).toEqual(['m.ndjson', 'm.ndjson.1', 'm.ndjson.2', 'm.ndjson.3']);
    const kept = ['m.ndjson.3', 'm.ndjson.2', 'm.ndjson.1', 'm.ndjson'].flatMap((name) =>
      linesOf(join(directory, name)),
    );
    const positions = kept.map(({ position }) => position);
    expect(positions.at(-1)).toBe(100);
    expect(positions).toEqual(positions.map((_, index) => 101 - positions.length + index));
  });

  it('writes nothing twice after a crash, and cuts a torn line off', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 60);
    const path = join(temporaryDirectory(), 'm.ndjson');
    const options = { path, rotateBytes: MIB, keep: 1 };
    const first = await startSink({ journal, target: new FileTarget(options), directory: temporaryDirectory() });
    await first.caughtUp();
    await first.forwarder.close(100);
    appendFileSync(path, '{"position":61,"device":"a","str');
    await journal.fill(['a'], 10, 60);
    // The cursor was lost: everything is forwarded again, from the first message on.
    const again = await startSink({ journal, target: new FileTarget(options), directory: temporaryDirectory() });
    expect(await again.caughtUp()).toMatchObject({ forwarded: 70 });
    expect(linesOf(path).map(({ position }) => position)).toEqual(Array.from({ length: 70 }, (_, index) => index + 1));
    await again.forwarder.replay(66);
    await again.until(({ forwarded }) => forwarded === 75);
    expect(linesOf(path)).toHaveLength(75);
  });

  it('waits while its directory is not one, and goes on when it is', async () => {
    const journal = await openTestJournal();
    await journal.fill(['a'], 5);
    const directory = temporaryDirectory();
    appendFileSync(join(directory, 'out'), 'in the way');
    const path = join(directory, 'out', 'm.ndjson');
    const sink = await startSink({
      journal,
      target: new FileTarget({ path, rotateBytes: MIB, keep: 1 }),
      directory: temporaryDirectory(),
    });
    const { reason } = await sink.until(({ state }) => state === 'down');
    expect(reason).toMatch(/EEXIST|ENOTDIR/);
    const { rmSync } = await import('node:fs');
    rmSync(join(directory, 'out'));
    await sink.caughtUp();
    expect(linesOf(path)).toHaveLength(5);
  });
});
