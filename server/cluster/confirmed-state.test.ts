import { describe, expect, it } from 'vitest';
import { addStoreGeneration, LEASE_TABLES, migrate, STORE_GENERATION_TABLES } from '../../storage/postgres/index.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { type ConfirmedState, compareAudit, compareStore } from './confirmed-state.ts';

const AT = Date.UTC(2030, 0, 1);
const SEEN = { id: 7, hash: 'the hash of entry 7' };

describeWithClients('what a node has seen of its database', ['postgres'], () => {
  const postgres = suitePostgres();

  it('is compared with the generations of the store and the renewals of its own lease', async () => {
    const database = await postgres().open();
    for (const tables of [LEASE_TABLES, STORE_GENERATION_TABLES]) await migrate(database, tables);
    const compare = (state: ConfirmedState | undefined, node = 'a') =>
      compareStore(state, { database, node, now: () => AT });
    const first = await compare(undefined);
    expect(first).toMatchObject({ generation: { number: 1 }, isAccepted: false, fault: undefined });
    const { store, generation } = first;
    const state: ConfirmedState = {
      ...{ store, generation, node: 'a', renewals: 5, audit: SEEN, commits: [] },
      at: AT,
    };
    const lacks = 'expected at least 5 renewals of the lease of a, the last one at 2030-01-01T00:00:00.000Z, found 0';
    expect(await compare(state)).toMatchObject({ fault: lacks });
    // Another name has another lease, and another database another history: their audit alone is compared.
    expect(await compare(state, 'b')).toMatchObject({ fault: undefined });
    expect(await compare({ ...state, store: 'another one' })).toMatchObject({ isAccepted: false, fault: undefined });
    await database.execute(`INSERT INTO leases VALUES ('node/a', 'a', 'holder', 1, 1000, 0, 5)`);
    expect(await compare(state)).toMatchObject({ isAccepted: false, fault: undefined });
    await database.execute('UPDATE leases SET renewals = 4');
    await addStoreGeneration(database, 3, AT);
    const accepted = await compare(state);
    expect(accepted).toMatchObject({ generation: { number: 3 }, isAccepted: true, fault: undefined });
    // The same backup was restored once more.
    await database.execute('DELETE FROM store_generations WHERE number = 3');
    expect(await compare({ ...state, generation: accepted.generation })).toMatchObject({
      fault: 'expected generation 3 of the store, found 1',
    });
  });
});

describe('the audit that a node has seen', () => {
  const registry = (hashes: readonly string[]) => ({
    auditHead: async () => ({ id: hashes.length, hash: hashes.at(-1) ?? '' }),
    hasAuditEntry: async ({ id, hash }: { readonly id: number; readonly hash: string }) => hashes[id - 1] === hash,
  });
  const state = { audit: SEEN, at: AT } as ConfirmedState;
  const before = Array.from({ length: 6 }, (_, index) => `the hash of entry ${index + 1}`);

  it('is found again while the database has all, and missed when it ends earlier or went on from an earlier state', async () => {
    expect(await compareAudit(undefined, registry([]))).toBeUndefined();
    expect(await compareAudit(state, registry([...before, SEEN.hash, 'one more']))).toBeUndefined();
    expect(await compareAudit(state, registry(before))).toMatch(/^expected entry 7 .* ends with entry 6$/);
    expect(await compareAudit(state, registry([...before, 'another', 'one more']))).toMatch(/found another one$/);
  });
});
