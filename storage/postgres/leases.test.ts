import { expect, it } from 'vitest';
import { manualTime } from '../../test/fixtures/manual-time.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { LEASE_TABLES, type LeaseRecord, LeaseTable } from './leases.ts';
import { migrate } from './migrations.ts';

const DURATION = 1_000;

describeWithClients('the table of leases', ['postgres'], () => {
  const postgres = suitePostgres();

  async function openTables() {
    const database = await postgres().open();
    await migrate(database, LEASE_TABLES);
    const time = manualTime(0);
    let committedAt: number | undefined;
    const holder = new LeaseTable({ database, node: 'a', now: time.now });
    const other = new LeaseTable({ database, node: 'b', now: time.now, committedAt: () => committedAt ?? time.now() });
    /** The last commit of the other node that was confirmed was of this moment; undefined: of now. */
    const commitUntil = (moment: number | undefined) => {
      committedAt = moment;
    };
    const read = async () => (await other.read(['work']))[0] as LeaseRecord;
    const isFreeAfter = async (milliseconds: number) => {
      time.advance(milliseconds);
      return other.isFree(await read());
    };
    return { database, holder, other, read, isFreeAfter, commitUntil };
  }

  it('gives a lease to one of two processes that take it at once', async () => {
    const { holder, other } = await openTables();
    const taken = await Promise.all([holder, other].map((table) => table.take('work', DURATION, undefined)));
    expect(taken.filter((lease) => lease !== undefined)).toMatchObject([{ name: 'work', epoch: 1 }]);
  });

  it('does not give away a lease that was renewed after it was found silent', async () => {
    const { holder, other, read } = await openTables();
    const lease = await holder.take('work', DURATION, undefined);
    const record = await read();
    await expect.poll(async () => (await read()).readAt).toBeGreaterThan(record.renewedAt + 1);
    expect(await holder.renew([lease ?? { name: '', epoch: 0 }])).toEqual(new Map([['work', 1]]));
    expect(await other.take('work', DURATION, record)).toBeUndefined();
  });

  it('calls a lease free after this process itself has seen it silent for its duration, whatever the clock of the database says', async () => {
    const { database, holder, isFreeAfter } = await openTables();
    await holder.take('work', DURATION, undefined);
    // As after a failover to a server whose clock is ahead.
    await database.execute('UPDATE leases SET renewed_at = 0');
    expect(await isFreeAfter(0)).toBe(false);
    expect(await isFreeAfter(500)).toBe(false);
    expect(await isFreeAfter(499)).toBe(false);
    expect(await isFreeAfter(1)).toBe(true);
  });

  it('does not count the time in which it could not be read, and in which nobody could renew', async () => {
    const { database, holder, isFreeAfter } = await openTables();
    await holder.take('work', DURATION, undefined);
    await database.execute('UPDATE leases SET renewed_at = 0');
    expect(await isFreeAfter(0)).toBe(false);
    expect(await isFreeAfter(60_000)).toBe(false);
    expect(await isFreeAfter(500)).toBe(false);
    expect(await isFreeAfter(500)).toBe(true);
  });

  it('does not count the time in which nothing could be committed, and begins anew after it', async () => {
    const { database, holder, isFreeAfter, commitUntil } = await openTables();
    await holder.take('work', DURATION, undefined);
    await database.execute('UPDATE leases SET renewed_at = 0');
    expect(await isFreeAfter(0)).toBe(false);
    commitUntil(400);
    for (let reads = 0; reads < 5; reads += 1) expect(await isFreeAfter(500)).toBe(false);
    commitUntil(undefined);
    expect(await isFreeAfter(500)).toBe(false);
    expect(await isFreeAfter(499)).toBe(false);
    expect(await isFreeAfter(1)).toBe(true);
  });

  it('does not call a lease free that was renewed lately by the clock of the database', async () => {
    const { holder, isFreeAfter } = await openTables();
    await holder.take('work', 60_000, undefined);
    for (let reads = 0; reads < 4; reads += 1) expect(await isFreeAfter(30_000)).toBe(false);
  });
});
