/**
 * Some inputs of both corpora against the program itself, on the runtime that ROLLCALL_TEST_RUNTIME names. It refuses each with the right
 * code, logs one line that names client, packet and clause, and keeps running.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../broker/broker-limits.ts';
import { PROPERTY_LIMITS } from '../../broker/mqtt/codec/packet-limits.ts';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { runCorpus, runCorpus5, sample } from '../fixtures/broker/corpus-run.ts';
import { connect5 } from '../fixtures/broker/mqtt5-corpus/connect-cases.ts';
import { buildCorpus5 } from '../fixtures/broker/mqtt5-corpus/corpus.ts';
import { buildCorpus } from '../fixtures/broker/packet-corpus.ts';
import { RawClient } from '../fixtures/broker/raw-client.ts';
import type { Credentials } from '../fixtures/mqtt.ts';
import { type RunningServer, serve } from '../fixtures/program.ts';
import { issueService } from '../fixtures/service.ts';

const EVERYTHING = ['#'];
const limits = { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS };
const CONFIGURATION = `mqtt:
  limits:
    connectionsPerSecondPerAddress: 0
    handshakes: 0
    handshakesPerAddress: 0
    takeoversPerMinute: 0
    messagesPerSecond: 0
    refusalLogsPerMinute: 0
`;

let directory: string;
let server: RunningServer;
let operator: ConsoleClient;
let credentials: Credentials;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'rollcall-corpus-'));
  writeFileSync(join(directory, 'rollcall.yaml'), CONFIGURATION);
  server = await serve(join(directory, 'fleet'), ['--config', join(directory, 'rollcall.yaml')]);
  operator = openConsoleClient({ socketPath: server.ready.socket });
  const policy = { connect: ['*'], publish: EVERYTHING, subscribe: EVERYTHING, receive: [], retain: EVERYTHING };
  await operator.setPolicy({ kind: 'service', name: 'corpus', ...policy });
  credentials = await issueService({ operator, mqttUrl: server.ready.mqttUrl }, 'corpus');
});
afterAll(async () => {
  await operator?.close();
  await server?.end('SIGTERM');
  rmSync(directory, { recursive: true, force: true });
});

function open(): Promise<RawClient> {
  const { mqttUrl, keyPem, certificatePem, rootPem } = credentials;
  return RawClient.open({ port: Number(new URL(mqttUrl).port), ca: rootPem, chain: certificatePem, key: keyPem });
}

it('accepts and refuses packets as both versions demand', async () => {
  const mqtt3 = await runCorpus((number) => {
    const clientId = `corpus-${number}`;
    return { clientId, open, corpus: sample(buildCorpus({ limits, clientId }), 3) };
  });
  expect(mqtt3.wrong).toEqual([]);
  expect(mqtt3.count).toBeGreaterThan(200);
  const mqtt5 = await runCorpus5((number) => {
    const clientId = `corpus-${number}`;
    return { clientId, open, corpus: sample(buildCorpus5({ limits, clientId, topic: 'a' }), 1) };
  });
  expect(mqtt5.wrong).toEqual([]);
  expect(mqtt5.count).toBeGreaterThan(400);
}, 240_000);

it('logs one line for a violation, which names client, packet and clause', async () => {
  const client = await open();
  client.protocolVersion = 5;
  client.send(connect5({ clientId: 'corpus-log' }));
  await client.next();
  client.send(Buffer.from([0x82, 7, 0, 1, 0, 0, 1, 0x61, 0x40]));
  expect((await client.disconnected())?.reasonCode).toBe(0x81);
  await client.closed;
  await server.untilLogged('corpus-log');
  const lines = server.log().split('\n');
  const violations = lines.filter((line) => line.includes('corpus-log') && line.includes('protocol violation'));
  expect(violations.length).toBe(1);
  expect(JSON.parse(violations[0] as string)).toMatchObject({ packet: 'SUBSCRIBE', clause: 'MQTT-3.8.3-5' });
});
