/** Threads of nodes: the shared port, their log, counters and limits, their end by an error, and drains. */

import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { MessagePort } from 'node:worker_threads';
import { parseAddressNetwork } from '@rollcall/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { LoadTestExemptions, RefusalLog } from '../../limits/index.ts';
import type { LineNodeOptions } from '../../test/fixtures/line-node.ts';
import { createLogger, type LogLevel } from '../logger.ts';
import type { NodePorts } from './node-calls.ts';
import { NodeThreads, type NodeThreadsOptions } from './node-threads.ts';

interface Started {
  readonly nodes: NodeThreads;
  readonly lines: Record<string, unknown>[];
  readonly loadTests: LoadTestExemptions;
  readonly attached: string[];
  readonly detached: string[];
  /** What each node has counted. */
  readonly counted: ReadonlyMap<string, Readonly<Record<string, number>>>;
  /** Resolves with the next line of this message. */
  logged(message: string): Promise<Record<string, unknown>>;
}

async function start(
  options: Partial<NodeThreadsOptions> & { readonly level?: LogLevel; readonly node?: Partial<LineNodeOptions> } = {},
): Promise<Started> {
  const lines: Record<string, unknown>[] = [];
  const waiting = new Set<{ readonly message: string; resolve(line: Record<string, unknown>): void }>();
  const log = createLogger(options.level ?? 'info', {
    write: (text) => {
      const line = JSON.parse(text) as Record<string, unknown>;
      lines.push(line);
      for (const waiter of waiting) if (waiter.message === line.msg) waiter.resolve(line);
    },
  });
  const loadTests = new LoadTestExemptions(Date.now);
  const attached: string[] = [];
  const detached: string[] = [];
  const keepers = new Map<string, MessagePort>();
  const counted = new Map<string, Readonly<Record<string, number>>>();
  const nodes = await NodeThreads.start({
    count: 2,
    program: new URL('../../test/fixtures/line-node.ts', import.meta.url),
    nodeOptions: async (ports) => lineNode(ports, options.node),
    attach: (name, keeper) => {
      keepers.set(name, keeper);
      keeper.on('message', (message: string) => attached.push(message));
    },
    detached: async (name) => void detached.push(name),
    counted: (name, counters) => counted.set(name, counters),
    sessionsOf: (name) => (name === 'w1' ? 1 : 2),
    drainNode: async (name) => {
      const keeper = keepers.get(name) as MessagePort;
      keeper.postMessage('drain');
      await Promise.race([once(keeper, 'message'), once(keeper, 'close')]);
    },
    refusalLog: new RefusalLog({ perMinutePerSource: 3, now: () => performance.now() }),
    drainDefaults: { within: 1_000, sessionsPerSecond: 0 },
    refusalLogsPerMinute: 3,
    loadTests,
    now: () => 1_000,
    restartDelay: () => 1,
    log,
    ...options,
  });
  onTestFinished(() => nodes.close());
  const logged = (message: string) =>
    new Promise<Record<string, unknown>>((resolve) => {
      const waiter = {
        message,
        resolve: (line: Record<string, unknown>) => {
          waiting.delete(waiter);
          resolve(line);
        },
      };
      waiting.add(waiter);
    });
  return { nodes, lines, loadTests, attached, detached, counted, logged };
}

function lineNode(ports: NodePorts | undefined, options: Partial<LineNodeOptions> = {}) {
  return { options: { port: ports?.port ?? 0, isJoining: ports !== undefined, ...options }, transfer: [] };
}

interface Client {
  readonly node: string;
  readonly socket: Socket;
  send(line: string): void;
  next(): Promise<string>;
}

async function connect({ ports }: NodeThreads): Promise<Client> {
  const socket = net.connect(ports.port, '127.0.0.1');
  socket.on('error', () => {});
  onTestFinished(() => {
    socket.destroy();
  });
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const next = async () => ((await lines.next()) as { value: string }).value;
  return { node: await next(), socket, send: (line) => socket.write(`${line}\n`), next };
}

/** The kernel chooses the node: connects until it has chosen this one. */
async function connectTo(nodes: NodeThreads, name: string): Promise<Client> {
  for (;;) {
    const client = await connect(nodes);
    if (client.node === name) return client;
    client.socket.destroy();
  }
}

it('nodes listen on one port, and the kernel spreads connections over them', async () => {
  const { nodes, attached, counted } = await start();
  await connectTo(nodes, 'w1');
  await connectTo(nodes, 'w2');
  const asked = async () => {
    await nodes.refresh();
    return [counted.get('w1'), counted.get('w2')];
  };
  await expect.poll(asked).toEqual([{ connections: 1 }, { connections: 1 }]);
  expect(nodes.list()).toMatchObject([
    { name: 'w1', kind: 'thread', state: 'serving', since: 1_000, crashes: 0 },
    { name: 'w2', kind: 'thread', state: 'serving', since: 1_000, crashes: 0 },
  ]);
  expect(attached).toEqual(['hello of w1', 'hello of w2']);
});

it('lines of a node are written by the log of the server, with its name, and follow the level of the server', async () => {
  const { nodes, lines, logged } = await start();
  const client = await connectTo(nodes, 'w2');
  const line = logged('said by the node');
  client.send('log said by the node');
  expect(await line).toMatchObject({ level: 'info', node: 'w2', component: 'test', time: expect.any(String) });
  nodes.setLogLevel('warn');
  await nodes.refresh(); // The level has arrived when the node answers.
  const refused = logged('refused');
  client.send('log not written');
  client.send('refuse 192.0.2.1');
  expect(await refused).toMatchObject({ level: 'warn', node: 'w2' });
  expect(lines.map(({ msg }) => msg)).not.toContain('not written');
});

it('refusals of all nodes have one budget of log lines, and the next line states how many were left out', async () => {
  const { nodes, lines, logged } = await start();
  const clients = [await connectTo(nodes, 'w1'), await connectTo(nodes, 'w2')];
  for (let n = 0; n < 5; n += 1) for (const client of clients) client.send('refuse 192.0.2.1');
  for (const client of clients) {
    const after = logged('after the refusals');
    client.send('log after the refusals');
    await after;
  }
  const another = logged('refused');
  clients[0]?.send('refuse 192.0.2.2');
  const last = await another;
  const ofFirst = lines.filter(({ address }) => address === '192.0.2.1');
  expect(ofFirst).toHaveLength(3);
  const notLogged = [...ofFirst, last].reduce((sum, line) => sum + ((line.notLogged as number | undefined) ?? 0), 0);
  // Those of w2 are told with its next line.
  expect(notLogged).toBeGreaterThanOrEqual(5);
});

it('limits per address hold for all nodes together, and those of a node that ended are free again', async () => {
  const { nodes, logged } = await start();
  const [first, second] = [await connectTo(nodes, 'w1'), await connectTo(nodes, 'w2')];
  const admitted = async (client: Client) => {
    client.send('admit 192.0.2.1');
    return client.next();
  };
  expect([await admitted(first), await admitted(second), await admitted(first)]).toEqual([
    'object',
    'object',
    'string',
  ]);
  const again = logged('node listens');
  first.send('crash');
  await again;
  expect([await admitted(second), await admitted(second)]).toEqual(['object', 'string']);
});

it('load tests that operators allow are exempt in every node, also in one that starts later', async () => {
  const { nodes, loadTests, logged } = await start();
  const network = parseAddressNetwork('192.0.2.0/24') ?? expect.fail();
  loadTests.replace([{ tokenId: 'tok-1', networks: [network], perSecond: 5, expiresAt: Number.MAX_SAFE_INTEGER }]);
  await nodes.refresh();
  const again = logged('node listens');
  (await connectTo(nodes, 'w1')).send('crash');
  await again;
  for (const name of ['w1', 'w2']) {
    const client = await connectTo(nodes, name);
    client.send('exempt 192.0.2.7');
    expect(await client.next()).toBe('tok-1');
  }
});

it('a node that crashes is started again on the same port while the others serve', async () => {
  const { nodes, detached, logged } = await start();
  const { port } = nodes.ports;
  const victim = await connectTo(nodes, 'w1');
  const other = await connectTo(nodes, 'w2');
  const ended = logged('the thread of a node ended; its clients connect again');
  const again = logged('node listens');
  victim.send('crash');
  expect(await ended).toMatchObject({
    level: 'error',
    node: 'w1',
    sessions: 1,
    err: { message: 'crashed by the test' },
  });
  expect(await again).toMatchObject({ node: 'w1', port });
  expect(detached).toEqual(['w1']);
  other.send('exempt 192.0.2.1');
  expect(await other.next()).toBe('no');
  await connectTo(nodes, 'w1');
  expect(nodes.list()).toMatchObject([
    { crashes: 1, state: 'serving', sessions: 1 },
    { crashes: 0, state: 'serving', sessions: 2 },
  ]);
  expect(await nodes.counters()).toMatchObject({
    'up/node=w1': 1,
    'sessions/node=w2': 2,
    'crashes_total/node=w1': 1,
    'event_loop_busy_seconds_total/node=w2': expect.any(Number),
  });
});

it('a node that hangs is ended, and started again while the others serve', async () => {
  const { nodes, detached, logged } = await start({ hangsAfter: 1_500 });
  const victim = await connectTo(nodes, 'w1');
  const other = await connectTo(nodes, 'w2');
  const hangs = logged('the thread of a node hangs, and is ended');
  const ended = logged('the thread of a node ended; its clients connect again');
  const again = logged('node listens');
  const closed = once(victim.socket, 'close');
  victim.send('hang');
  expect(await hangs).toMatchObject({ level: 'error', node: 'w1', silentMs: expect.any(Number) });
  expect(await ended).toMatchObject({ node: 'w1' });
  await closed;
  expect(await again).toMatchObject({ node: 'w1' });
  expect(detached).toEqual(['w1']);
  other.send('exempt 192.0.2.1');
  expect(await other.next()).toBe('no');
  await connectTo(nodes, 'w1');
});

it('an operator who drains a node that hangs waits no longer than until it is ended', async () => {
  const { nodes } = await start({ hangsAfter: 1_500 });
  const victim = await connectTo(nodes, 'w1');
  victim.send('hang');
  expect(await victim.next()).toBe('hangs');
  const drained = await nodes.drain('w1', { within: 60_000, sessionsPerSecond: 0, restart: true });
  expect(drained).toMatchObject({ name: 'w1', state: 'serving', crashes: 1 });
});

it('a node that cannot be started again is tried until it can', async () => {
  let broken: string | undefined;
  const { nodes, logged } = await start({
    nodeOptions: async (ports) => lineNode(ports, broken === undefined ? {} : { broken }),
  });
  const failed = logged('node was not started; it is tried again');
  broken = 'w1';
  await nodes.terminate('w1');
  expect(await failed).toMatchObject({ node: 'w1', err: { message: expect.stringContaining('broken by the test') } });
  const again = logged('node listens');
  broken = undefined;
  expect(await again).toMatchObject({ node: 'w1' });
});

it('a start that fails in one node leaves none behind', async () => {
  await expect(start({ node: { broken: 'w2' } })).rejects.toMatchObject({ code: 'internal' });
});

it('a drain ends the sessions of one node and starts it again, or leaves it down', async () => {
  const { nodes } = await start();
  const order = { within: 1_000, sessionsPerSecond: 0 };
  const ended = await connectTo(nodes, 'w1');
  const other = await connectTo(nodes, 'w2');
  expect(await nodes.drain('w1', { ...order, restart: true })).toMatchObject({ name: 'w1', state: 'serving' });
  expect(await ended.next()).toBe('bye');
  await connectTo(nodes, 'w1');
  expect(await nodes.drain('w1', { ...order, restart: false })).toMatchObject({ state: 'stopped' });
  expect((await connect(nodes)).node).toBe('w2');
  other.send('exempt 192.0.2.1');
  expect(await other.next()).toBe('no');
  expect(nodes.list().map(({ crashes }) => crashes)).toEqual([0, 0]);
  expect(await nodes.undrain('w1')).toMatchObject({ name: 'w1', state: 'serving' });
  await expect(nodes.undrain('w1')).rejects.toMatchObject({ code: 'node_busy' });
  await connectTo(nodes, 'w1');
});

it('a drain is refused for a node that does not exist, that is not serving, and that is the last one', async () => {
  const { nodes } = await start();
  const order = { within: 1_000, sessionsPerSecond: 0, restart: false };
  await expect(nodes.drain('w9', order)).rejects.toMatchObject({ code: 'node_unknown' });
  await nodes.drain('w1', order);
  await expect(nodes.drain('w1', order)).rejects.toMatchObject({ code: 'node_busy' });
  await expect(nodes.drain('w2', order)).rejects.toMatchObject({ code: 'node_last' });
});

it('nodes that close end their sessions, and free the port', async () => {
  const { nodes } = await start();
  const client = await connect(nodes);
  await nodes.close();
  expect(await client.next()).toBe('bye');
  const server = net.createServer().listen(nodes.ports.port, '127.0.0.1');
  await once(server, 'listening');
  server.close();
});

it('a server that stops while the sessions of a thread that ended are released starts no other thread', async () => {
  const released = Promise.withResolvers<void>();
  const spawned: string[] = [];
  const { nodes, logged } = await start({
    attach: (name) => void spawned.push(name),
    detached: () => released.promise,
  });
  const ended = logged('the thread of a node ended; its clients connect again');
  await nodes.terminate('w1');
  await ended;
  // Its restart has the same delay, is due before this, and waits for the release.
  await new Promise((resolve) => setTimeout(resolve, 1));
  const closing = nodes.close();
  released.resolve();
  await closing;
  expect(spawned).toEqual(['w1', 'w2']);
});
