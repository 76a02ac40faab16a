/** MQTT 5 properties from a client to the reader of telemetry: published over MQTT 5, and read back by query, export and sink. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { hasControls } from '@rollcall/output';
import type { IClientPublishOptions } from 'mqtt';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { closed, openMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';

type Properties = NonNullable<IClientPublishOptions['properties']>;

/** No U+0000, which MQTT forbids in text [MQTT-1.5.4-2]. */
const HOSTILE = '\u001b[2J\r\n"\',;\u009b\u202e=cmd()\u2028';

/** A name with several values stands for as many properties. */
const PROPERTIES: Properties = {
  contentType: 'application/json; v=1',
  payloadFormatIndicator: true,
  responseTopic: 'devices/dev-1/responses/1',
  correlationData: Buffer.from('1'),
  messageExpiryInterval: 3600,
  userProperties: { unit: ['celsius', 'kelvin'], '': '', [HOSTILE]: HOSTILE, 'Zürich 🌡️': '温度' },
};

const FORMAT_ONLY: Properties = { payloadFormatIndicator: false };

const STORED = {
  contentType: PROPERTIES.contentType,
  payloadFormatIndicator: 1,
  userProperties: [
    { name: 'unit', value: 'celsius' },
    { name: 'unit', value: 'kelvin' },
    { name: '', value: '' },
    { name: HOSTILE, value: HOSTILE },
    { name: 'Zürich 🌡️', value: '温度' },
  ],
};

let directory: string;
let sinkFile: string;
let server: RunningServer;
let identity: StoredIdentity;

const start = () => serve(join(directory, 'fleet'), ['--config', join(directory, 'rollcall.yaml')]);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rollcall-properties-'));
  sinkFile = join(directory, 'sink.ndjson');
  writeFileSync(join(directory, 'rollcall.yaml'), `sinks:\n  - name: out\n    kind: file\n    path: ${sinkFile}\n`);
  server = await start();
  const { stdout: token } = await rollcall(['token', 'create', '--data', join(directory, 'fleet')]);
  identity = await enrollOnce(memoryIdentityStore(), { token: token.trim(), deviceId: 'dev-1' });
  const client = await openMqtt(identity, { protocolVersion: 5 });
  for (const qos of [0, 1, 2] as const) {
    const sent = { qos, properties: PROPERTIES };
    await client.publishAsync(`devices/dev-1/telemetry/qos-${qos}`, '{"celsius":21.5}', sent);
  }
  await client.publishAsync('devices/dev-1/telemetry/keyed/1.k', '1', { qos: 1, properties: PROPERTIES });
  await client.publishAsync('devices/dev-1/telemetry/none', '1', { qos: 1 });
  await client.publishAsync('devices/dev-1/telemetry/format', '1', { qos: 1, properties: FORMAT_ONLY });
  await client.endAsync();
  const older = await openMqtt(identity, { protocolVersion: 4 });
  await older.publishAsync('devices/dev-1/telemetry/older', '1', { qos: 1 });
  await older.endAsync();
});
afterAll(async () => {
  await server?.end('SIGTERM');
  rmSync(directory, { recursive: true, force: true });
});

const EXPECTED = [
  ...['qos-0', 'qos-1', 'qos-2', 'keyed'].map((stream) => ({ stream, ...STORED })),
  { stream: 'none' },
  { stream: 'format', payloadFormatIndicator: 0 },
  { stream: 'older' },
];

/** What lines of JSON say of the properties of each message. */
function propertiesIn(text: string): readonly object[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
    .map(({ stream, contentType, payloadFormatIndicator, userProperties }) => ({
      stream,
      contentType,
      payloadFormatIndicator,
      userProperties,
    }));
}

async function ask(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await rollcall([...args, '--data', join(directory, 'fleet')]);
  expect(code, stderr).toBe(0);
  expect(hasControls(stdout.replaceAll('\r\n', '').replaceAll('\n', ''))).toBe(false);
  return stdout;
}

it('properties that a device publishes are returned by a query and by an export, with every QoS', async () => {
  expect(propertiesIn(await ask('telemetry', 'query', '--device', 'dev-1', '--json'))).toEqual(EXPECTED);
  expect(propertiesIn(await ask('telemetry', 'export'))).toEqual(EXPECTED);
  const csv = await ask('telemetry', 'export', '--format', 'csv');
  expect(csv).toContain(`,"${JSON.stringify(STORED.userProperties.slice(0, 3)).slice(0, -1).replaceAll('"', '""')}`);
});

it('properties that a device publishes reach a sink', async () => {
  await expect.poll(() => readFileSync(sinkFile, 'utf8').split('\n').length).toBe(EXPECTED.length + 1);
  expect(propertiesIn(readFileSync(sinkFile, 'utf8'))).toEqual(EXPECTED);
});

it('response topic, correlation data and message expiry of a device are not stored', async () => {
  const text = await ask('telemetry', 'query', '--device', 'dev-1', '--json');
  expect(text).not.toMatch(/response|correlation|expiry/i);
});

it('a will is stored with the properties that its device gave it', async () => {
  const will = { topic: 'devices/dev-1/telemetry/will', payload: Buffer.from('gone'), qos: 1, retain: false } as const;
  const { contentType, userProperties } = PROPERTIES as Required<Properties>;
  const client = await openMqtt(identity, {
    protocolVersion: 5,
    will: { ...will, properties: { contentType, userProperties } },
  });
  client.stream.destroy();
  await closed(client);
  const stored = async () => propertiesIn(await ask('telemetry', 'query', '--device', 'dev-1', '--json')).at(-1);
  await expect
    .poll(stored)
    .toEqual({ stream: 'will', contentType: STORED.contentType, userProperties: STORED.userProperties });
});

it('acknowledged properties survive kill -9 of the server', async () => {
  await server.end('SIGKILL');
  server = await start();
  const found = propertiesIn(await ask('telemetry', 'query', '--device', 'dev-1', '--json'));
  expect(found.slice(0, EXPECTED.length)).toEqual(EXPECTED);
});
