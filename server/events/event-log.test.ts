import { join } from 'node:path';
import type { DeviceId, Identity } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import type { ChainedAuditEntry } from '../../registry/audit/audit-store.ts';
import type { AuditEntry } from '../../registry/index.ts';
import { CursorFile } from '../../storage/index.ts';
import type { Telemetry } from '../../telemetry/index.ts';
import { openTestJournal, silent } from '../../test/fixtures/journal.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { AuditFollower } from './audit-follower.ts';
import { ConnectionNumbers } from './connection-numbers.ts';
import { EventLog, type FleetEvent } from './event-log.ts';

const dev = (id: string): Identity => ({ kind: 'device', id: id as DeviceId });

const connected = (id: string, at = 1000): FleetEvent => ({
  type: 'presence.connected',
  at,
  component: 'broker',
  subject: dev(id),
  data: { sequence: 1 },
});

const refused = (at: number): FleetEvent => ({
  type: 'presence.connect_failed',
  at,
  component: 'broker',
  data: { reason: 'certificate_missing' },
});

const logOf = (journal: Telemetry, options: Partial<ConstructorParameters<typeof EventLog>[0]> = {}) =>
  new EventLog({ journal, trustDomain: 'rollcall.internal', now: () => 0, log: silent, ...options });

async function typesIn(log: EventLog): Promise<readonly string[]> {
  return (await log.list({ limit: 10_000 })).map(({ type, name }) => `${type} ${name}`);
}

describe('the events of a fleet', () => {
  it('are stored in order, and listeners are notified after they are on disk', async () => {
    const journal = await openTestJournal();
    const log = logOf(journal);
    const told: string[] = [];
    log.follow({}, ({ type, name, json }) => {
      told.push(`${type} ${name} ${JSON.parse(Buffer.from(json).toString()).data.sequence}`);
      expect(journal.counters().queuedBytes).toBe(0);
    });
    log.record(connected('a'));
    log.record({ ...connected('a', 2000), type: 'presence.disconnected' });
    log.record(connected('b'));
    expect(told).toEqual([]);
    await log.flushed();
    expect(told).toEqual(['presence.connected a 1', 'presence.disconnected a 1', 'presence.connected b 1']);
    expect(await typesIn(log)).toEqual(told.map((line) => line.slice(0, -2)));
  });

  it('in large numbers take few commits, and recording one never waits', async () => {
    const journal = await openTestJournal({ limits: { window: 20 } });
    const log = logOf(journal);
    for (let n = 0; n < 5_000; n += 1) log.record(connected(`dev-${n}`));
    expect(log.counters()).toMatchObject({ waiting: 5_000, recorded: 0 });
    await log.flushed();
    expect(log.counters()).toEqual({ waiting: 0, recorded: 5_000, leftOut: 0, dropped: 0 });
    expect(journal.counters().commits).toBeLessThan(30);
  });

  it('are dropped and counted when the queue is full', async () => {
    const journal = await openTestJournal();
    const log = logOf(journal, { maxWaiting: 100 });
    for (let n = 0; n < 250; n += 1) log.record(connected(`dev-${n}`));
    await log.flushed();
    expect(log.counters()).toMatchObject({ recorded: 100, dropped: 150 });
    log.record(connected('late'));
    await log.flushed();
    expect((await typesIn(log)).at(-1)).toBe('presence.connected late');
  });

  it('are dropped and counted when the journal does not take them, and stored again when it does', async () => {
    const journal = await openTestJournal();
    let isFull = true;
    const accept: Telemetry['accept'] = (message) =>
      isFull ? Promise.reject(new Error('disk full')) : journal.accept(message);
    const log = logOf({ ...journal, accept });
    log.record(connected('a'));
    await log.flushed();
    isFull = false;
    log.record(connected('b'));
    await log.flushed();
    expect(log.counters()).toMatchObject({ recorded: 1, dropped: 1 });
    expect(await typesIn(log)).toEqual(['presence.connected b']);
  });

  it('that any client can cause are limited by source and in total; the next one has the number left out', async () => {
    const journal = await openTestJournal();
    const log = logOf(journal, { rateLimits: { perSecond: 10, perMinutePerSource: 6 } });
    for (let n = 0; n < 1_000; n += 1) log.record(refused(0), '192.0.2.1');
    for (let n = 0; n < 3; n += 1) log.record(refused(0), '192.0.2.2');
    log.record(connected('a'));
    await log.flushed();
    expect(log.counters()).toMatchObject({ recorded: 10, leftOut: 994 });
    log.record(refused(60_000), '192.0.2.1');
    await log.flushed();
    const events = await log.list({ type: 'presence.connect_failed', limit: 100 });
    const leftOut = events.map(({ json }) => JSON.parse(Buffer.from(json).toString()).data.leftOut);
    expect(leftOut.filter((count) => count !== undefined)).toEqual([994]);
    expect(events.every(({ name }) => name === '-')).toBe(true);
  });
});

describe('the events that one device causes', () => {
  const presence = (type: 'connected' | 'disconnected', sequence: number): FleetEvent => ({
    type: `presence.${type}`,
    at: sequence,
    component: 'broker',
    subject: dev('a'),
    data: { sequence },
  });
  const dataOf = async (log: EventLog) =>
    (await log.list({ limit: 10_000 })).map(({ json }) => JSON.parse(Buffer.from(json).toString()).data);

  it('are limited, and the last one is stored later with the number left out before it', async () => {
    const log = logOf(await openTestJournal());
    for (let n = 1; n <= 500; n += 1) {
      log.record(presence('connected', n));
      log.record(presence('disconnected', n));
    }
    log.record(presence('connected', 501));
    log.record(connected('b'));
    await log.flushed();
    expect(log.counters()).toMatchObject({ recorded: 21, leftOut: 980 });
    log.releaseHeld(2_000); // a budget comes back every three seconds
    await log.flushed();
    expect(log.counters().recorded).toBe(21);
    log.releaseHeld(4_000);
    await log.flushed();
    const told = await log.list({ name: 'a', limit: 100 });
    expect(told.at(-1)?.type).toBe('presence.connected');
    expect((await dataOf(log)).at(-1)).toEqual({ sequence: 501, leftOut: 980 });
  });

  it('are stored when the server stops, at the latest', async () => {
    const journal = await openTestJournal();
    const log = logOf({ ...journal, close: async () => {} });
    for (let n = 1; n <= 50; n += 1) log.record(presence('connected', n));
    await log.close();
    expect((await dataOf(log)).at(-1)).toEqual({ sequence: 50, leftOut: 29 });
  });

  it('carry the count when the next one is let through', async () => {
    const log = logOf(await openTestJournal());
    for (let n = 1; n <= 30; n += 1) log.record(presence('connected', n));
    log.record(presence('disconnected', 60_000));
    await log.flushed();
    expect((await dataOf(log)).at(-1)).toEqual({ sequence: 60_000, leftOut: 10 });
  });

  it('from the registry are limited as well, and those of operators are not', async () => {
    const log = logOf(await openTestJournal());
    const of = (type: FleetEvent['type']): FleetEvent => ({
      type,
      at: 0,
      component: 'registry',
      subject: dev('a'),
      data: {},
    });
    for (let n = 0; n < 100; n += 1) {
      await log.store(of('cert.renewed'), `renewed-${n}`);
      await log.store(of('security.renewal_forked'), `forked-${n}`);
      await log.store(of('cert.revoked'), `revoked-${n}`);
    }
    const count = async (type: string) => (await log.list({ type, limit: 1_000 })).length;
    expect([await count('cert.renewed'), await count('security.renewal_forked')]).toEqual([20, 20]);
    expect(await count('cert.revoked')).toBe(100);
  });

  it('spend their budget once, however often the journal refuses them', async () => {
    const journal = await openTestJournal();
    let isFull = true;
    const accept: Telemetry['accept'] = (message) =>
      isFull ? Promise.reject(new Error('disk full')) : journal.accept(message);
    const log = logOf({ ...journal, accept });
    const renewed: FleetEvent = { type: 'cert.renewed', at: 0, component: 'registry', subject: dev('a'), data: {} };
    for (let n = 0; n < 100; n += 1) await expect(log.store(renewed, 'audit-1')).rejects.toThrow('disk full');
    isFull = false;
    await log.store(renewed, 'audit-1');
    expect(await typesIn(log)).toEqual(['cert.renewed a']);
  });
});

describe('connections', () => {
  it('have numbers that grow over restarts, also after crashes', () => {
    const file = join(temporaryDirectory(), 'connections.next');
    let highest = 0;
    for (let life = 0; life < 5; life += 1) {
      const numbers = new ConnectionNumbers(CursorFile.ofNumbers(file)); // never closed: a crash each time
      for (let n = 0; n < 10; n += 1) {
        const number = numbers.next();
        expect(number).toBeGreaterThan(highest);
        highest = number;
      }
    }
    expect(highest).toBeLessThan(10_000_000);
  });
});

describe('the audit as a source of events', () => {
  const entry = (id: number, action: string, subject: string, outcome: AuditEntry['outcome'] = 'done') => ({
    id,
    at: id,
    actor: 'operator/local' as const,
    action,
    subject,
    outcome,
    details: { serial: '1f' },
    hash: '',
    previous: '',
  });

  function registryOf(audit: ChainedAuditEntry[]) {
    return {
      exportAudit: async ({ after = 0, limit }: { readonly after?: number; readonly limit: number }) =>
        audit.filter(({ id }) => id > after).slice(0, limit),
      listAudit: async () => audit.slice(-1),
    };
  }

  it('is read from where it ended, and an event that was stored before a crash is stored once', async () => {
    const journal = await openTestJournal();
    const log = logOf(journal);
    const cursor = CursorFile.ofNumbers(join(temporaryDirectory(), 'events', 'audit.position'));
    const audit = [entry(1, 'device.enrolled', 'device/old')];
    const options = { registry: registryOf(audit), events: log, cursor, pollEvery: 60_000, log: silent };
    const first = await AuditFollower.open(options);
    audit.push(
      entry(2, 'device.enrolled', 'device/a'),
      entry(3, 'policy.set', 'group/default'),
      entry(4, 'device.enrolled', 'token/9f', 'refused'),
      entry(5, 'device.revoked', 'device/a'),
      entry(6, 'service.revoked', 'service/s'),
    );
    await first.poll();
    const expected = ['enroll.enrolled a', 'cert.revoked a', 'cert.revoked s'];
    expect(await typesIn(log)).toEqual(expected);
    // As if it had ended after the events were kept and before the cursor was.
    cursor.saveSync(3);
    const second = await AuditFollower.open(options);
    audit.push(entry(7, 'certificate.renewed', 'device/b'));
    await second.poll();
    expect(await typesIn(log)).toEqual([...expected, 'cert.renewed b']);
    await Promise.all([first.close(), second.close()]);
  });

  it('waits for a journal that takes nothing, and loses nothing', async () => {
    const journal = await openTestJournal();
    let isFull = true;
    const accept: Telemetry['accept'] = (message) =>
      isFull ? Promise.reject(new Error('disk full')) : journal.accept(message);
    const log = logOf({ ...journal, accept });
    const audit: ChainedAuditEntry[] = [];
    const cursor = CursorFile.ofNumbers(join(temporaryDirectory(), 'audit.position'));
    const follower = await AuditFollower.open({
      registry: registryOf(audit),
      events: log,
      cursor,
      pollEvery: 60_000,
      log: silent,
    });
    audit.push(entry(1, 'device.enrolled', 'device/a'));
    await follower.poll();
    expect(cursor.read()).toBe(0);
    isFull = false;
    await follower.poll();
    expect(await typesIn(log)).toEqual(['enroll.enrolled a']);
    expect(cursor.read()).toBe(1);
    await follower.close();
  });
});
