/** The example of docs/sinks.md, all four kinds, with the real program, which is killed and restarted while devices publish. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import pg from 'pg';
import { expect, it, onTestFinished } from 'vitest';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { closed, openMqtt } from '../fixtures/mqtt.ts';
import { natsServer } from '../fixtures/nats-server.ts';
import { postgresServer } from '../fixtures/postgres-server.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const page = readFileSync(new URL('../../docs/sinks.md', import.meta.url), 'utf8');

const BATCH = 50;

/** Counts of the messages that a webhook accepted, repetitions included, and the ids of their events. */
interface Taken {
  readonly ids: string[];
  readonly counts: number[];
}

async function startReceiver(taken: Taken): Promise<number> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    for (const event of JSON.parse(Buffer.concat(chunks).toString())) {
      taken.ids.push(event.id);
      taken.counts.push(event.data.count);
    }
    response.writeHead(204).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

interface Sending {
  readonly from: number;
  readonly to: number;
  acknowledged(count: number): void;
}

/** Resolves when everything is acknowledged, or the connection is closed. */
async function send(identity: StoredIdentity, mqttUrl: string, { from, to, acknowledged }: Sending): Promise<void> {
  const client = await openMqtt({ ...identity, mqttUrl });
  const gone = closed(client);
  const sent: Promise<unknown>[] = [];
  for (let count = from; count < to && client.connected; count += 1) {
    const topic = `devices/${identity.deviceId}/telemetry/climate`;
    const stored = client.publishAsync(topic, JSON.stringify({ count }), { qos: 1 });
    sent.push(stored.then(() => acknowledged(count)));
    if (count % 20 === 19) await Promise.race([stored, gone]).catch(() => {});
  }
  await Promise.race([Promise.allSettled(sent), gone]);
  client.end(true);
}

async function caughtUp(operator: ConsoleClient): Promise<Awaited<ReturnType<ConsoleClient['listSinks']>>> {
  for (;;) {
    const sinks = await operator.listSinks();
    if (sinks.every(({ state, lagMessages }) => state === 'idle' && lagMessages === 0)) return sinks;
    await new Promise((resolve) => setTimeout(resolve, 20)); // the sinks work in another process
  }
}

describeWithClients('the sinks of docs/sinks.md', ['nats-server', 'postgres'], () => {
  it('receive every acknowledged message, in order and once, although the server was killed meanwhile', async () => {
    const directory = temporaryDirectory();
    const nats = await natsServer(directory, ['--user', 'rollcall', '--pass', 'bus password']);
    const postgres = await postgresServer();
    const taken: Taken = { ids: [], counts: [] };
    const hook = await startReceiver(taken);
    const secret = (name: string, text: string) => {
      const file = join(directory, name);
      writeFileSync(file, `${text}\n`, { mode: 0o600 });
      return file;
    };
    const archive = join(directory, 'messages.ndjson');
    const example = /```yaml\n(sinks:[\s\S]*?)```/.exec(page)?.[1] as string;
    const here: readonly (readonly [inPage: string, here: string])[] = [
      ['/var/lib/rollcall/messages.ndjson', archive],
      ['https://hooks.example.com/rollcall', `http://127.0.0.1:${hook}/`],
      ['/etc/rollcall/hook.secret', secret('hook.secret', 'a secret of enough characters')],
      ['tls://nats.example.com:4222', `nats://127.0.0.1:${nats.port}`],
      ['/etc/rollcall/nats.password', secret('nats.password', 'bus password')],
      ['postgres://db.example.com:5432/fleet', `postgres://127.0.0.1:${postgres.port}/postgres`],
    ];
    let config = example;
    for (const [inPage, found] of here) {
      expect(example, inPage).toContain(inPage);
      config = config.replace(inPage, found);
    }
    config = config.replaceAll(/^( {4})kind:/gm, `$1batch: { messages: ${BATCH}, linger: 5ms }\n$1kind:`);
    const configFile = join(directory, 'rollcall.yaml');
    writeFileSync(configFile, `${config}\nmqtt: { limits: { messagesPerSecond: 0 } }\n`);

    const data = join(directory, 'data');
    const start = (): Promise<RunningServer> =>
      serve(data, ['--config', configFile], { environment: { WAREHOUSE_PASSWORD: postgres.password } });
    let server = await start();
    onTestFinished(() => server.end('SIGKILL').then(() => {}));
    let operator = openConsoleClient({ socketPath: server.ready.socket });
    const { text: token } = await operator.createToken({ group: 'press' });
    const identity = await enrollOnce(memoryIdentityStore(), { token, deviceId: 'press-1' });

    const acknowledged = new Set<number>();
    for (let life = 0; life < 3; life += 1) {
      const enough = Promise.withResolvers<void>();
      const wanted = acknowledged.size + 120;
      const sending = send(identity, server.ready.mqttUrl, {
        from: life * 1000,
        to: (life + 1) * 1000,
        acknowledged: (count) => {
          if (acknowledged.add(count).size === wanted) enough.resolve();
        },
      });
      const endedEarly = sending.then(() => {
        throw new Error(`expected ${wanted} acknowledgements, found ${acknowledged.size} when the connection ended`);
      });
      await Promise.race([enough.promise, endedEarly]);
      await server.end('SIGKILL');
      await sending;
      server = await start();
      operator = openConsoleClient({ socketPath: server.ready.socket });
    }
    await send(identity, server.ready.mqttUrl, {
      from: 3000,
      to: 3100,
      acknowledged: (count) => acknowledged.add(count),
    });

    const sinks = await caughtUp(operator);
    expect(sinks.map(({ name, deadLettered, missed }) => [name, deadLettered, missed])).toEqual(
      ['archive', 'hook', 'bus', 'warehouse'].map((name) => [name, 0, 0]),
    );
    const journal: number[] = [];
    let text = '';
    for await (const chunk of operator.exportTelemetry({ format: 'ndjson' })) text += chunk;
    for (const line of text.trimEnd().split('\n')) journal.push(JSON.parse(line).payload.count);
    for (const count of acknowledged) expect(journal).toContain(count);
    expect(acknowledged.size).toBeGreaterThanOrEqual(460);

    const lines = readFileSync(archive, 'utf8').trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).payload.count)).toEqual(journal);

    const { port, user, password } = postgres;
    const client = new pg.Client({ host: '127.0.0.1', port, database: 'postgres', user, password });
    await client.connect();
    const { rows } = await client.query(
      `SELECT (convert_from(payload, 'UTF8')::jsonb ->> 'count')::int AS count FROM rollcall_messages ORDER BY position`,
    );
    await client.end();
    expect(rows.map(({ count }) => count)).toEqual(journal);

    const connection = await connect({ servers: `127.0.0.1:${nats.port}`, user: 'rollcall', pass: 'bus password' });
    const { state } = await (await jetstreamManager(connection)).streams.info('ROLLCALL');
    const held: number[] = [];
    const consumer = await jetstream(connection).consumers.get('ROLLCALL');
    for await (const message of await consumer.fetch({ max_messages: state.messages })) {
      held.push((message.json() as { count: number }).count);
    }
    await connection.close();
    expect(held).toEqual(journal);

    // Only messages that were in flight when the server was killed are repeated.
    expect([...new Set(taken.counts)]).toEqual(journal);
    expect(new Set(taken.ids).size).toBe(journal.length);
    expect(taken.counts.length - journal.length).toBeLessThanOrEqual(3 * BATCH);

    const { stdout } = await rollcall(['sink', 'list', '--socket', server.ready.socket]);
    expect(stdout).toMatch(/^warehouse +postgres +telemetry +idle +0 /m);
    const metrics = await operator.metrics();
    expect(metrics).toContain('rollcall_sink_lag_messages{sink="bus"} 0');
    expect(await operator.health()).toMatchObject({ sinks: { up: 4, down: 0 } });
    for (const word of ['bus password', postgres.password, 'a secret of enough']) {
      expect(server.log()).not.toContain(word);
      expect(metrics).not.toContain(word);
    }

    await postgres.kill();
    const again = await operator.replaySink({ name: 'warehouse', position: 1 });
    expect(again.name).toBe('warehouse');
    for (;;) {
      const health = await operator.health();
      if (health.sinks?.down === 1) break;
      await new Promise((resolve) => setTimeout(resolve, 10)); // the sinks work in another process
    }
    await expect(operator.replaySink({ name: 'none', position: 1 })).rejects.toMatchObject({ code: 'sink_unknown' });
    await expect(operator.replaySink({ name: 'bus' })).rejects.toMatchObject({ code: 'request_invalid' });
    expect((await operator.listAudit({ limit: 1 }))[0]).toMatchObject({
      action: 'sink.replayed',
      subject: 'sink/warehouse',
    });
    expect(existsSync(join(data, 'sinks', 'warehouse', 'telemetry.position'))).toBe(true);
    await operator.close();
  });
});
