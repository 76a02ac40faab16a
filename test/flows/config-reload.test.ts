/** SIGHUP: the real program reads its configuration again. */

import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type RunningServer, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

interface Configured {
  readonly server: RunningServer;
  /** Writes the file, sends SIGHUP, and returns the line that the server logs about it. */
  reload(yaml: string): Promise<Record<string, unknown>>;
}

async function configured(yaml: string): Promise<Configured> {
  const directory = temporaryDirectory();
  const file = join(directory, 'rollcall.yaml');
  writeFileSync(file, yaml);
  const server = await serve(join(directory, 'data'), ['--config', file]);
  onTestFinished(async () => {
    await server.end('SIGKILL');
  });
  const lines = () =>
    server
      .log()
      .split('\n')
      .filter((line) => line.includes('"signal":"SIGHUP"'));
  let count = 0;
  return {
    server,
    reload: async (next) => {
      writeFileSync(file, next);
      process.kill(server.pid, 'SIGHUP');
      count += 1;
      while (lines().length < count) await server.untilMore();
      return JSON.parse(lines().at(-1) as string) as Record<string, unknown>;
    },
  };
}

async function statusOfProbe(url: string): Promise<number | undefined> {
  const sent = request(`${url}/livez`, { agent: false, rejectUnauthorized: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode;
}

async function statuses(url: string, count: number): Promise<readonly (number | undefined)[]> {
  const found: (number | undefined)[] = [];
  for (let n = 0; n < count; n += 1) found.push(await statusOfProbe(url));
  return found;
}

/** A connection that sends nothing. Resolves when it is established or refused. */
async function pending(url: string): Promise<{ readonly closed: Promise<void> }> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await Promise.race([new Promise((resolve) => socket.once('connect', resolve)), closed]);
  return { closed };
}

describe('SIGHUP', () => {
  it('applies rates, limits and the log level at once, and says what changed', async () => {
    const { server, reload } = await configured('log: { level: info }\n');
    const { consoleUrl, mqttUrl, enrollUrl } = server.ready;
    expect(await statuses(consoleUrl, 5)).toEqual([200, 200, 200, 200, 200]);

    const line = await reload(`
log: { level: debug }
requests: { perSecondPerAddress: 0.01 }
enroll: { limits: { connectionsPerSecondPerAddress: 0.01 } }
mqtt: { limits: { handshakesPerAddress: 1 } }
drain: { within: 1s }
`);
    expect(line).toMatchObject({
      level: 'info',
      changed: [
        'log.level',
        'drain.within',
        'requests.perSecondPerAddress',
        'enroll.limits.connectionsPerSecondPerAddress',
        'mqtt.limits.handshakesPerAddress',
      ],
      needRestart: [],
    });
    expect(await statuses(consoleUrl, 3)).toEqual([200, 429, 429]);
    await server.untilLogged('"code":"rate_limited","address":"127.0.0.1","msg":"operator request refused"');
    for (const url of [mqttUrl, enrollUrl]) {
      await pending(url);
      const refused = await pending(url);
      await refused.closed;
    }

    expect(await reload('log: { level: info }\n')).toMatchObject({ changed: expect.arrayContaining(['log.level']) });
    expect(await statuses(consoleUrl, 5)).toEqual([200, 200, 200, 200, 200]);
  });

  it('names what needs a restart, each time until it has had one', async () => {
    const { server, reload } = await configured('');
    const yaml = 'mqtt: { limits: { packet: 1MiB, handshakes: 7 } }\npublicHosts: [fleet.example.net]\n';
    const needRestart = ['publicHosts', 'mqtt.limits.packet'];
    expect(await reload(yaml)).toMatchObject({ level: 'warn', changed: ['mqtt.limits.handshakes'], needRestart });
    expect(await reload(yaml)).toMatchObject({ level: 'warn', changed: [], needRestart });
    expect((await server.end('SIGTERM')).code).toBe(0);
  });

  it('changes nothing when the file is not valid, and says why', async () => {
    const { server, reload } = await configured('requests: { perSecondPerAddress: 0.01 }\n');
    const line = await reload('requests: { perSecondPerAddress: 0 }\nmqtt: { prot: 1 }\n');
    expect(line).toMatchObject({
      ...{ level: 'error', code: 'config_invalid', msg: 'configuration refused; nothing was changed' },
      reason: expect.stringMatching(/rollcall\.yaml:2: mqtt\.prot is not an option/),
    });
    expect(await statuses(server.ready.consoleUrl, 2)).toEqual([200, 429]);
  });
});
