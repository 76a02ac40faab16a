/**
 * The CPU time of the console of one server: of a scrape of `/metrics` while devices are connected, and of operators who follow the
 * events live. `node bin/pinned.js test/bench/console.ts [DEVICES] [VIEWERS] [EVENTS_PER_SECOND]`; docs/bench.md has figures.
 */

import { readFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openConsoleClient } from '../../console/client.ts';
import { prepareAuthority } from './authority.ts';
import { BenchResources } from './children.ts';
import { LoadGenerator } from './load-generator.ts';
import { cpuOf, untilQuiet } from './process-meter.ts';
import { prepareServers, type RunningRollcall } from './servers.ts';
import { percentile } from './statistics.ts';

/** Of one order to the load generator, which ends within two minutes. */
const AT_ONCE = 2_000;
const SCRAPES = 40;
const ROUNDS = 3;
const ROUND_SECONDS = 15;
const TICKS_PER_SECOND = 10;

const [devices = 10_000, viewers = 200, eventsPerSecond = 200] = process.argv.slice(2).map(Number);

const borrowed = new BenchResources();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    borrowed.giveBackNow();
    process.exit(130);
  });
}
try {
  const data = join(borrowed.directory, 'data');
  const peers = await prepareAuthority(data, join(borrowed.directory, 'peers'));
  const server = await prepareServers(borrowed, {
    data,
    peers,
    profiles: process.env.PROFILE_DIRECTORY,
  }).startRollcall();
  const load = new LoadGenerator(borrowed);
  // Those that are beyond the connected ones connect and disconnect, which makes the events.
  await enroll(server, load, devices + AT_ONCE);
  for (let open = 0; open < devices; open += AT_ONCE) {
    const count = Math.min(AT_ONCE, devices - open);
    await load.order({ kind: 'open', as: 'bench', port: server.mqttPort, count });
  }
  await scrapes(server);
  await load.order({ kind: 'close', as: 'bench' });
  await liveEvents(server, load, data);
  await server.stop();
} finally {
  await borrowed.giveBack();
}

async function enroll(server: RunningRollcall, load: LoadGenerator, count: number): Promise<void> {
  const operator = openConsoleClient({ socketPath: server.socketPath });
  const { text: token } = await operator.createToken({ uses: count });
  await operator.close();
  for (let done = 0; done < count; done += AT_ONCE) {
    const size = { count: Math.min(AT_ONCE, count - done), inFlight: 16 };
    const order = { port: server.enrollPort, token, connections: 'reused', devices: 'stored' } as const;
    await load.order({ kind: 'enroll', ...order, ...size });
  }
}

async function scrapes(server: RunningRollcall): Promise<void> {
  const took: number[] = [];
  let bytes = 0;
  for (let scrape = 0; scrape < SCRAPES; scrape += 1) {
    await untilQuiet(server.pid);
    const before = cpuOf(server.pid);
    bytes = await scrapeBytes(server.socketPath);
    took.push((cpuOf(server.pid) - before) / 1_000);
  }
  const median = percentile(took, 50).toFixed(1);
  say(`/metrics, ${devices} connected: ${median} ms CPU, at most ${Math.max(...took).toFixed(1)}; ${bytes} bytes`);
}

function scrapeBytes(socketPath: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/metrics', agent: false }, async (response) => {
      let bytes = 0;
      for await (const chunk of response) bytes += (chunk as Buffer).length;
      resolve(bytes);
    });
    asked.once('error', reject).end();
  });
}

/** The same events with and without viewers, in turns. Per event, because the rate is that of a busy machine. */
async function liveEvents(server: RunningRollcall, load: LoadGenerator, data: string): Promise<void> {
  const micros: Record<'without' | 'with', number[]> = { without: [], with: [] };
  let [received, events] = [0, 0];
  await eventLoad(server, load); // what is compiled and allocated once is not what an event costs
  for (let round = 0; round < ROUNDS; round += 1) {
    micros.without.push((await eventLoad(server, load)).microsPerEvent);
    const streams = await Promise.all(Array.from({ length: viewers }, () => openStream(server, data)));
    for (const stream of streams) {
      stream.on('data', (chunk: Buffer) => {
        received += countOf(chunk);
      });
    }
    const measured = await eventLoad(server, load);
    micros.with.push(measured.microsPerEvent);
    events += measured.events;
    for (const stream of streams) stream.destroy();
  }
  const [without, withViewers] = [percentile(micros.without, 50), percentile(micros.with, 50)];
  const percent = ((withViewers - without) * eventsPerSecond) / 10_000;
  say(
    `${viewers} viewers: ${(withViewers - without).toFixed(0)} µs CPU an event beside ${without.toFixed(0)} without them, ` +
      `${percent.toFixed(1)} % of a core at ${eventsPerSecond} events a second`,
  );
  say(`each viewer got ${(received / viewers).toFixed(0)} of ${events} events`);
}

/** While devices connect and disconnect: two events each. */
async function eventLoad(server: RunningRollcall, load: LoadGenerator) {
  const count = Math.round(eventsPerSecond / 2 / TICKS_PER_SECOND);
  await untilQuiet(server.pid);
  const [start, before] = [performance.now(), cpuOf(server.pid)];
  let connects = 0;
  for (let tick = 1; tick <= ROUND_SECONDS * TICKS_PER_SECOND; tick += 1) {
    await load.order({ kind: 'connect', port: server.mqttPort, count, inFlight: 4 });
    connects += count;
    await sleep(Math.max(0, start + (tick * 1_000) / TICKS_PER_SECOND - performance.now()));
  }
  await untilQuiet(server.pid);
  return { microsPerEvent: (cpuOf(server.pid) - before) / (connects * 2), events: connects * 2 };
}

function openStream(server: RunningRollcall, data: string): Promise<IncomingMessage> {
  const key = readFileSync(join(data, 'operator.key'), 'utf8').trim();
  const headers = { authorization: `Bearer ${key}`, accept: 'text/event-stream' };
  const ca = readFileSync(join(data, 'trust-bundle.pem'));
  const { hostname, port } = new URL(server.consoleUrl);
  return new Promise((resolve, reject) => {
    const options = { host: hostname, port, ca, headers, agent: false, path: '/v1/events/follow' } as const;
    httpsRequest(options, (response) => {
      response.on('error', () => {}); // it is destroyed at the end
      if (response.statusCode === 200) resolve(response);
      else reject(new Error(`expected a stream, found status ${response.statusCode}`));
    })
      .once('error', reject)
      .end();
  });
}

function countOf(chunk: Buffer): number {
  let count = 0;
  for (let at = chunk.indexOf('data: '); at >= 0; at = chunk.indexOf('data: ', at + 1)) count += 1;
  return count;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
