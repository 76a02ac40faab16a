/** How a server ends, and what its probes say before, meanwhile and without storage. The real program, MQTT 5 and 3.1.1 clients. */

import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { closed, connectMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, serve } from '../fixtures/program.ts';
import { smallDisk } from '../fixtures/small-disk.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const MIB = 1_048_576;

async function served(
  environment: Readonly<Record<string, string>>,
  data = join(temporaryDirectory(), 'data'),
): Promise<RunningServer> {
  const health = { ROLLCALL_HEALTH_LISTEN: 'true', ROLLCALL_HEALTH_PORT: '0' };
  const server = await serve(data, [], { environment: { ...health, ...environment } });
  onTestFinished(async () => {
    await server.end('SIGKILL');
  });
  return server;
}

async function enrolled({ ready }: RunningServer, deviceId: string): Promise<StoredIdentity> {
  const operator = openConsoleClient({ socketPath: ready.socket });
  const { text } = await operator.createToken({});
  await operator.close();
  return enrollOnce(memoryIdentityStore(), { token: text, deviceId });
}

/** Status and body, without a key. */
async function ask(url: string): Promise<readonly [number | undefined, string]> {
  const send = url.startsWith('https:') ? secureRequest : request;
  // A probe checks no certificate.
  const sent = send(url, { agent: false, rejectUnauthorized: false }).end();
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage];
  let text = '';
  for await (const chunk of response) text += chunk;
  return [response.statusCode, text];
}

function healthUrlOf({ ready }: RunningServer): string {
  const { healthUrl } = ready as { readonly healthUrl?: string };
  if (healthUrl === undefined) throw new Error('expected healthUrl in the ready line');
  return healthUrl;
}

const OK = [200, 'ok\n'];
const NOT_READY = [503, 'not ready\n'];

describe('a server that is told to end', () => {
  it('ends one session after the other, serves the rest meanwhile, accepts nothing, and is live but not ready', async () => {
    const server = await served({ ROLLCALL_DRAIN_SESSIONS_PER_SECOND: '0.2' });
    const health = healthUrlOf(server);
    expect(await ask(`${health}/readyz`)).toEqual(OK);
    expect(await ask(`${server.ready.consoleUrl}/readyz`)).toEqual(OK);
    const first = await connectMqtt(await enrolled(server, 'dev-1'), { protocolVersion: 5 });
    const second = await connectMqtt(await enrolled(server, 'dev-2'), { protocolVersion: 5 });
    const told: (number | undefined)[] = [];
    for (const client of [first, second]) client.on('disconnect', ({ reasonCode }) => told.push(reasonCode));
    const [firstGone, secondGone] = [closed(first), closed(second)];

    const ended = server.end('SIGTERM');
    await firstGone;
    expect(told).toEqual([0x8b]);
    await second.publishAsync('devices/dev-2/telemetry/late', '1', { qos: 1 });
    expect(await ask(`${health}/livez`)).toEqual(OK);
    expect(await ask(`${health}/readyz`)).toEqual(NOT_READY);
    expect(await ask(`${server.ready.consoleUrl}/readyz`)).toEqual(NOT_READY);
    for (const url of [server.ready.mqttUrl, server.ready.enrollUrl]) {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      expect(await once(socket, 'error')).toMatchObject([{ code: 'ECONNREFUSED' }]);
    }
    await secondGone;
    expect(told).toEqual([0x8b, 0x8b]);
    expect((await ended).code).toBe(0);
  });

  it('sends clients of MQTT 5 to the server that it was told of, and closes those of MQTT 3.1.1', async () => {
    const server = await served({ ROLLCALL_MQTT_SERVER_REFERENCE: 'mqtt2.example.net:8883' });
    const modern = await connectMqtt(await enrolled(server, 'dev-1'), { protocolVersion: 5 });
    const old = await connectMqtt(await enrolled(server, 'dev-2'));
    const told = new Promise((resolve) => modern.once('disconnect', resolve));
    const gone = closed(old);
    const ended = server.end('SIGTERM');
    const properties = { serverReference: 'mqtt2.example.net:8883' };
    expect(await told).toMatchObject({ reasonCode: 0x9c, properties });
    await gone;
    expect((await ended).code).toBe(0);
  });

  it('ends at once at a second signal', async () => {
    const server = await served({ ROLLCALL_DRAIN_SESSIONS_PER_SECOND: '0.01', ROLLCALL_DRAIN_WITHIN: '1h' });
    const first = await connectMqtt(await enrolled(server, 'dev-1'));
    const second = await connectMqtt(await enrolled(server, 'dev-2'));
    const gone = closed(first);
    const ended = server.end('SIGTERM');
    await gone;
    const lost = closed(second);
    process.kill(server.pid, 'SIGINT');
    expect(await ended).toMatchObject({ code: 1, signal: null });
    await lost;
  });
});

describe('a server whose disk is full', () => {
  const disk = smallDisk.bind(undefined, 64 * MIB);

  it('is live, and not ready until there is space again', async ({ skip }) => {
    const mounted = disk();
    if (mounted === undefined) return skip('this user may not mount');
    const server = await served({}, join(mounted, 'data'));
    const health = healthUrlOf(server);
    expect(await ask(`${health}/readyz`)).toEqual(OK);
    const ballast = join(mounted, 'ballast');
    writeFileSync(ballast, Buffer.alloc(60 * MIB));
    await server.untilLogged('the disk is nearly full');
    expect(await ask(`${health}/readyz`)).toEqual(NOT_READY);
    expect(await ask(`${health}/livez`)).toEqual(OK);
    rmSync(ballast);
    await server.untilLogged('the disk has space again');
    expect(await ask(`${health}/readyz`)).toEqual(OK);
    return undefined;
  });
});
