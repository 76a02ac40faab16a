/** Text of devices and clients with control characters: every output escapes them, so that a terminal interprets none. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { closed, openMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';

/** All control characters but the line feed that ends a line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern finds control characters
const RAW = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/;
const HOSTILE = 'a\u0000\u0007\b\u001b[2J\u007f\u0085\u009b2J\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069z';
/** The same for JSON, whose writers escape only what RFC 8259 requires. */
const HOSTILE_JSON = JSON.stringify({ said: HOSTILE });

let data: string;
let server: RunningServer;
let identity: StoredIdentity;
let sinkFile: string;

beforeAll(async () => {
  data = mkdtempSync(join(tmpdir(), 'rollcall-escaped-'));
  sinkFile = join(data, 'sink.ndjson');
  const config = join(data, 'rollcall.yaml');
  writeFileSync(config, `sinks:\n  - name: out\n    kind: file\n    path: ${sinkFile}\n`);
  server = await serve(join(data, 'fleet'), ['--config', config], { environment: { ROLLCALL_LOG_LEVEL: 'debug' } });
  const { stdout: token } = await rollcall(['token', 'create', '--data', join(data, 'fleet'), '--uses', '5']);
  identity = await enrollOnce(memoryIdentityStore(), { token: token.trim(), deviceId: 'dev-1' });
  const client = await openMqtt(identity);
  await client.publishAsync('devices/dev-1/telemetry/json', HOSTILE_JSON, { qos: 1 });
  await client.publishAsync('devices/dev-1/telemetry/text', HOSTILE, { qos: 1 });
  await client.endAsync();
  const refused = await openMqtt(identity);
  refused.publish('devices/dev-2/\u202e\u061c', '', { qos: 1 });
  await closed(refused);
});
afterAll(async () => {
  await server?.end('SIGTERM');
  rmSync(data, { recursive: true, force: true });
});

const run = async (...args: string[]) => (await rollcall([...args, '--data', join(data, 'fleet')])).stdout;

function jsonLines(text: string): readonly Readonly<Record<string, unknown>>[] {
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const SAID = [
  expect.objectContaining({ stream: 'json', payload: { said: HOSTILE } }),
  expect.objectContaining({ stream: 'text', text: HOSTILE }),
];

describe('control characters in messages of a device', () => {
  it.each([
    ['telemetry query --json', ['telemetry', 'query', '--device', 'dev-1', '--json']],
    ['telemetry last --json', ['telemetry', 'last', '--json']],
    ['telemetry export', ['telemetry', 'export']],
  ])('are escaped by %s, with the same value', async (_, command) => {
    const text = await run(...command);
    expect(text).not.toMatch(RAW);
    expect(jsonLines(text)).toEqual(SAID);
  });

  it.each([
    ['telemetry query', ['telemetry', 'query', '--device', 'dev-1']],
    ['telemetry last', ['telemetry', 'last']],
  ])('are made visible by %s', async (_, command) => {
    const text = await run(...command);
    expect(text).not.toMatch(RAW);
    expect(text).toContain('\\x1b[2J');
    expect(text).toContain('\\u202e');
    expect(text.trim().split('\n')).toHaveLength(2);
  });

  it('are in no export as CSV', async () => {
    const text = (await run('telemetry', 'export', '--format', 'csv')).replaceAll('\r\n', '\n');
    expect(text).not.toMatch(RAW);
    expect(text).toContain(Buffer.from(HOSTILE).toString('base64'));
  });

  it('are escaped in the responses of the HTTP API', async () => {
    const path = '/v1/telemetry?device=dev-1';
    const answer = await new Promise<string>((resolve, reject) => {
      request({ socketPath: server.ready.socket, path }, (response) => resolve(textOf(response)))
        .on('error', reject)
        .end();
    });
    expect(answer).not.toMatch(RAW);
    expect(answer).toContain('\\u202e');
  });

  it('are escaped in the file of a sink', async () => {
    await expect.poll(() => readFileSync(sinkFile, 'utf8').split('\n').length).toBeGreaterThan(2);
    const text = readFileSync(sinkFile, 'utf8');
    expect(text).not.toMatch(RAW);
    expect(jsonLines(text)).toEqual(SAID);
  });
});

describe('control characters in a topic filter of a client', () => {
  it('are escaped in the log', async () => {
    await expect.poll(() => server.log()).toContain('\\u202e');
    expect(server.log()).not.toMatch(RAW);
  });

  it.each([
    ['events list', ['events', 'list']],
    ['events list --json', ['events', 'list', '--json']],
    ['audit list', ['audit', 'list']],
    ['audit export', ['audit', 'export']],
    ['device show', ['device', 'show', 'dev-1']],
  ])('come out raw nowhere in %s', async (_, command) => {
    expect(await run(...command)).not.toMatch(RAW);
  });
});
