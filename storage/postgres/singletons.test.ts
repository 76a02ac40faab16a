import { EventEmitter, once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import { LeaseProcess } from '../../test/fixtures/lease-process.ts';
import { type PostgresCluster, postgresCluster, suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { PASSWORD } from '../../test/fixtures/postgres-template.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { WakeListeners, type Wakes } from '../wakes.ts';
import { PostgresDatabase } from './database.ts';
import { LEASE_TABLES } from './leases.ts';
import { migrate } from './migrations.ts';
import type { PostgresSettings } from './settings.ts';
import { Singletons, type SingletonsOptions, type SingletonTerm } from './singletons.ts';

/** Longer than a busy machine holds a process up. */
const DURATION = 1_500;
const EVERY = 100;
const NEVER = 2 ** 31 - 1;

interface Candidate {
  readonly database: PostgresDatabase;
  /** Emits `taken` and `lost` with the term. */
  readonly events: EventEmitter;
  readonly withdraw: () => Promise<void>;
}

async function settingsWithTables(cluster: PostgresCluster): Promise<PostgresSettings> {
  const settings = cluster.settings();
  await migrate(await cluster.open(settings), LEASE_TABLES);
  return settings;
}

function startCandidate(settings: PostgresSettings, node: string, changes: Partial<SingletonsOptions> = {}): Candidate {
  const database = new PostgresDatabase(settings);
  const now = () => performance.now();
  const singletons = new Singletons({ database, node, now, duration: DURATION, every: EVERY, ...changes });
  const events = new EventEmitter();
  const withdraw = singletons.compete('work', {
    onTaken: (term) => events.emit('taken', term),
    onLost: (term, reason) => events.emit('lost', term, reason),
  });
  onTestFinished(async () => {
    await singletons.close();
    await database.close();
  });
  return { database, events, withdraw };
}

function startProcess(settings: PostgresSettings, node: string): LeaseProcess {
  const { hosts, database, user, schema } = settings;
  return new LeaseProcess({
    settings: { hosts, database, user, schema, password: PASSWORD },
    kind: 'singleton',
    node,
    duration: DURATION,
    every: EVERY,
  });
}

async function taken({ events }: Candidate): Promise<SingletonTerm> {
  const [term] = await once(events, 'taken');
  return term;
}

describeWithClients('what one node does for all', ['postgres'], () => {
  const postgres = suitePostgres();

  it('is begun by one of several nodes, and by another one at once when that one withdraws', async () => {
    const settings = await settingsWithTables(postgres());
    const listeners = new WakeListeners();
    const wakes: Wakes = {
      wake: (channel) => listeners.wake(channel),
      onWake: (channel, listener) => listeners.add(channel, listener),
      close: async () => {},
    };
    const slow = { duration: NEVER, every: NEVER, wakes };
    const first = startCandidate(settings, 'a', slow);
    const term = await taken(first);
    expect(term).toMatchObject({ epoch: 1, isHeld: true });
    const second = startCandidate(settings, 'b', slow);
    // It has looked once, and would look again after a long time.
    await expect.poll(() => second.database.query('SELECT node FROM leases')).toMatchObject({ rows: [{ node: 'a' }] });
    const next = taken(second);
    await first.withdraw();
    expect(await next).toMatchObject({ epoch: 2 });
    expect(term.isHeld).toBe(false);
  });

  it('is begun by another node after the process that did it was killed', async () => {
    const settings = await settingsWithTables(postgres());
    const holder = startProcess(settings, 'a');
    expect(await holder.next()).toBe('taken 1');
    const other = startCandidate(settings, 'b');
    let isKilled = false;
    const next = taken(other).then((term) => ({ term, isKilled }));
    // The holder renews its lease for longer than it lasts.
    await other.database.query(`SELECT pg_sleep(${(1.5 * DURATION) / 1000})`);
    isKilled = true;
    await holder.kill();
    expect(await next).toMatchObject({ term: { epoch: 2 }, isKilled: true });
  });

  it('is refused to a process that was stopped for too long, which is told so before it can act', async () => {
    const settings = await settingsWithTables(postgres());
    const holder = startProcess(settings, 'a');
    expect(await holder.next()).toBe('taken 1');
    const other = startCandidate(settings, 'b');
    const next = taken(other);
    holder.signal('SIGSTOP');
    await next;
    holder.signal('SIGCONT');
    expect(await holder.next()).toMatch(/^lost (not confirmed in time|taken by another process)$/);
  });

  it('is done in transactions that no former holder can commit', async () => {
    const settings = await settingsWithTables(postgres());
    const holder = startCandidate(settings, 'a');
    const term = await taken(holder);
    await holder.database.execute('CREATE TABLE notes (epoch BIGINT)');
    const write = () =>
      holder.database.transaction(async (transaction) => {
        await term.fence(transaction);
        await transaction.query('INSERT INTO notes VALUES ($1)', [term.epoch]);
      });
    await write();
    const lost = once(holder.events, 'lost');
    await postgres().primary.ask(
      `UPDATE ${settings.schema}.leases SET node = 'b', holder = 'other', epoch = epoch + 1`,
    );
    await expect(write()).rejects.toMatchObject({
      code: 'unavailable',
      reason: expect.stringContaining('found it lost'),
    });
    expect(await lost).toEqual([term, 'taken by another process']);
    expect((await holder.database.query('SELECT epoch FROM notes')).rows).toEqual([{ epoch: 1 }]);
  });

  it('is stopped while the standbys are lost, and goes on with the same node after a failover', async () => {
    const cluster = await postgresCluster({ standbys: 2 });
    const settings = { ...(await settingsWithTables(cluster)), timeouts: { commit: 1_000, retry: 1_000 } };
    const holder = startCandidate(settings, 'a');
    const term = await taken(holder);
    const other = startCandidate(settings, 'b');
    other.events.on('taken', () => other.events.emit('wrong'));
    const lost = once(holder.events, 'lost');
    const again = Promise.race([taken(holder), once(other.events, 'wrong').then(() => 'another node')]);
    await cluster.primary.kill();
    expect(await lost).toEqual([term, 'not confirmed in time']);
    await cluster.failOver();
    expect(await again).toMatchObject({ epoch: 2 });
  });
});
