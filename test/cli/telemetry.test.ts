/** Telemetry on the command line of a running server: queries, aggregation, export, retention. */

import { readFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { telemetryTopic } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { deviceNamed } from '../behaviour/telemetry-messages.ts';
import type { Ended } from '../fixtures/child-process.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { rollcall } from '../fixtures/program.ts';

let fleet: TestFleet;
beforeAll(async () => {
  // One test sends more than a response may contain: at the default rate it would wait 16 s.
  fleet = await startFleet({ settings: [[['mqtt', 'limits', 'bytesPerSecond'], '0B']] });
  const device = await fleet.enroll('cli-1');
  const client = await openMqtt(device);
  for (const celsius of [20, 21, 25]) {
    await client.publishAsync(telemetryTopic(deviceNamed('cli-1'), 'climate'), JSON.stringify({ celsius }), { qos: 1 });
  }
  await client.publishAsync(telemetryTopic(deviceNamed('cli-1'), 'note'), 'plain', { qos: 1 });
  await client.endAsync();
});
afterAll(() => fleet.stop());

async function telemetry(...args: string[]): Promise<Ended> {
  return rollcall(['telemetry', ...args, '--socket', fleet.socket]);
}

it('telemetry last shows the newest message of each stream', async () => {
  const { stdout, code } = await telemetry('last');
  expect(stdout.replace(/^\S+/gm, 'T')).toBe('T  cli-1  climate  {"celsius":25}\nT  cli-1  note  plain\n');
  expect(code).toBe(0);
});

it('telemetry series aggregates a number over time, and reports on standard error how many messages had none', async () => {
  const of = (stream: string) =>
    telemetry(
      'series',
      '--device',
      'cli-1',
      '--stream',
      stream,
      '--value',
      '/celsius',
      '--since',
      '1d',
      '--bucket',
      '7d',
    );
  const { stdout } = await of('climate');
  expect(stdout.replace(/^\S+/gm, 'T')).toBe('T  3x  20  22  25  25\n');
  expect(await of('note')).toMatchObject({
    stdout: '',
    stderr: 'rollcall: no message with a number matches\nrollcall: 1 messages had no number at /celsius\n',
  });
});

it('telemetry is exported as lines of JSON to standard output, and as CSV into a file that only its owner can read', async () => {
  const { stdout } = await telemetry('export', '--stream', 'climate');
  const lines = stdout.trimEnd().split('\n');
  expect(lines.map((line) => JSON.parse(line).payload.celsius)).toEqual([20, 21, 25]);
  const out = join(fleet.data, 'export.csv');
  await telemetry('export', '--format', 'csv', '--out', out);
  expect(readFileSync(out, 'utf8').split('\r\n')).toHaveLength(6);
  const nowhere = await telemetry('export', '--out', join(fleet.data, 'no', 'such', 'place'));
  expect(nowhere).toMatchObject({ code: 2, stderr: expect.stringContaining('could not be written: ENOENT') });
});

it('telemetry retention is reported, and pruning removes no new message', async () => {
  const { stdout } = await telemetry('stats');
  expect(stdout).toMatch(/^00000001-\S+\.db {2}4 messages {2}\d+ bytes\n4 messages {2}\d+ bytes\n$/);
  expect((await telemetry('prune', '--older-than', '1d')).stdout).toBe('0 removed\n');
});

it('telemetry last reads all streams in pages, although one device has more than a response may contain', async () => {
  const big = await openMqtt(await fleet.enroll('big-1'));
  const payload = Buffer.alloc(255 * 1024, 'x');
  for (let n = 0; n < 70; n += 1) {
    await big.publishAsync(telemetryTopic(deviceNamed('big-1'), `s-${n}`), payload, { qos: 1 });
  }
  await big.endAsync();
  const first = await fleet.operator.lastTelemetry();
  const seen: string[] = [];
  for (let after = ''; ; ) {
    const page = await fleet.operator.lastTelemetry({ after });
    const end = page.at(-1);
    if (end === undefined) break;
    expect(page.length * payload.length).toBeLessThan(17 * 1_048_576);
    seen.push(...page.map(({ device, stream }) => `${device}/${stream}`));
    after = seen.at(-1) as string;
  }
  expect(seen.slice(0, first.length)).toEqual(first.map(({ device, stream }) => `${device}/${stream}`));
  expect(seen).toHaveLength(72);
  expect(new Set(seen).size).toBe(72);
  const { stdout, code } = await telemetry('last');
  expect(stdout.split('\n').filter((line) => line.includes('  cli-1  '))).toHaveLength(2);
  expect(stdout.split('\n').filter((line) => line.includes('  big-1  '))).toHaveLength(70);
  expect(code).toBe(0);
});

it('a query reads as many messages as fit into a response, and prints how to read the ones before them', async () => {
  // 70 messages of big-1 are 17 MiB, more than one response may contain.
  const newest = await telemetry('query', '--device', 'big-1', '--json');
  const [, count, before] =
    /(\d+) of 100 messages fit into the answer; for older ones: --before (\d+)/.exec(newest.stderr) ?? [];
  expect(newest.code).toBe(0);
  expect(Number(count)).toBeGreaterThan(60);
  const older = await telemetry('query', '--device', 'big-1', '--json', '--before', `${before}`);
  expect(older).toMatchObject({ code: 0, stderr: '' });
  const streams = [older, newest].flatMap(({ stdout }) =>
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).stream as string),
  );
  expect(streams).toEqual(Array.from({ length: 70 }, (_, n) => `s-${n}`));
});

it('a page over HTTP links to the next one', async () => {
  const get = (path: string) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      request({ socketPath: fleet.socket, path }, resolve).once('error', reject).end();
    });
  for (const [path, link] of [
    ['/v1/telemetry/last?device=cli-1', '</v1/telemetry/last?device=cli-1&after=cli-1%2Fnote>; rel="next"'],
    ['/v1/telemetry?device=cli-1&limit=1', '</v1/telemetry?device=cli-1&limit=1&before=4>; rel="next"'],
    ['/v1/telemetry?device=cli-1&limit=1&before=1', undefined],
  ] as const) {
    const response = await get(path);
    response.resume();
    expect(response.headers.link).toBe(link);
  }
});

it('an invalid query is refused with an explanation', async () => {
  const backwards = await telemetry('export', '--since', '1h', '--until', '2h');
  expect(backwards).toMatchObject({ code: 3, stderr: expect.stringContaining('ends after it begins') });
  const unknown = await telemetry('export', '--format', 'xml');
  expect(unknown.code).toBe(2);
});
