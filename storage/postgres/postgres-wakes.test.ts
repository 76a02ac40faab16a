import { EventEmitter, once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { type PostgresCluster, postgresCluster, suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { PostgresDatabase } from './database.ts';
import { PostgresWakes } from './postgres-wakes.ts';
import type { PostgresSettings } from './settings.ts';

const NEVER = 2 ** 31 - 1;

interface Node {
  readonly wakes: PostgresWakes;
  /** Emits the name of a channel, `connected` and `lost`. */
  readonly events: EventEmitter;
}

async function startNode(settings: PostgresSettings, ...channels: readonly string[]): Promise<Node> {
  const database = new PostgresDatabase(settings);
  const events = new EventEmitter();
  const wakes = new PostgresWakes({
    database,
    onConnected: () => events.emit('connected'),
    onLost: () => events.emit('lost'),
    atLeastEvery: NEVER,
  });
  onTestFinished(async () => {
    await wakes.close();
    await database.close();
  });
  const connected = once(events, 'connected');
  for (const channel of channels) wakes.onWake(channel, () => events.emit(channel));
  // Each connect wakes everyone.
  const woken = channels.map((channel) => once(events, channel));
  await Promise.all([connected, ...woken]);
  return { wakes, events };
}

/** Every LISTEN of the nodes ends. */
async function cutListeners({ primary }: PostgresCluster): Promise<void> {
  await primary.ask(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rollcall' AND query LIKE ANY (ARRAY['LISTEN%', '%pg_notify%'])`,
  );
}

describeWithClients('wakes over PostgreSQL', ['postgres'], () => {
  const postgres = suitePostgres();

  it('reach the listeners of their channel on every node, also on the one that wakes', async () => {
    const settings = postgres().settings();
    const nodes = await Promise.all([1, 2, 3].map(() => startNode(settings, 'audit', 'policies')));
    let others = 0;
    for (const { events } of nodes) events.on('policies', () => (others += 1));
    const woken = nodes.map(({ events }) => once(events, 'audit'));
    nodes[0]?.wakes.wake('audit');
    await Promise.all(woken);
    expect(others).toBe(0);
  });

  it('become one where many come at once', async () => {
    const settings = postgres().settings();
    const [waking, listening] = await Promise.all([startNode(settings), startNode(settings, 'audit', 'end')]);
    let count = 0;
    listening.events.on('audit', () => (count += 1));
    const end = once(listening.events, 'end');
    for (let wakes = 0; wakes < 1000; wakes += 1) waking.wakes.wake('audit');
    waking.wakes.wake('end');
    await end;
    expect(count).toBe(1);
  });

  it('do not reach another fleet in the same database', async () => {
    const [one, other] = await Promise.all([1, 2].map(() => startNode(postgres().settings(), 'audit')));
    let count = 0;
    other?.events.on('audit', () => (count += 1));
    const woken = once(other?.events as EventEmitter, 'audit');
    one?.wakes.wake('audit');
    other?.wakes.wake('audit');
    await woken;
    expect(count).toBe(1);
  });

  it('come once to everyone after a lost connection, and go on', async () => {
    const settings = postgres().settings();
    const [waking, listening] = await Promise.all([startNode(settings, 'audit'), startNode(settings, 'audit')]);
    const woken = [waking, listening].map(({ events }) => once(events, 'audit'));
    await cutListeners(postgres());
    await Promise.all(woken);
    const again = once(listening.events, 'audit');
    waking.wakes.wake('audit');
    await again;
  });

  it('come after a failover from the standby that was promoted', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const settings = cluster.settings();
    const [waking, listening] = await Promise.all([startNode(settings, 'audit'), startNode(settings, 'audit')]);
    const connected = [waking, listening].map(({ events }) => once(events, 'connected'));
    const woken = [waking, listening].map(({ events }) => once(events, 'audit'));
    await cluster.failOver();
    await Promise.all([...connected, ...woken]);
    const again = once(listening.events, 'audit');
    waking.wakes.wake('audit');
    await again;
  });

  it('come at intervals without any cause', async () => {
    const database = await postgres().open();
    const wakes = new PostgresWakes({ database, atLeastEvery: 10 });
    onTestFinished(() => wakes.close());
    let count = 0;
    wakes.onWake('audit', () => (count += 1));
    await expect.poll(() => count).toBeGreaterThan(3);
  });
});
