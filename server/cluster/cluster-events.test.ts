/** Events of nodes that share a store: those that any client can cause evict none of operators. */

import { expect, it } from 'vitest';
import { PollingWakes } from '../../storage/index.ts';
import { DAY, deviceNamed, START } from '../../test/behaviour/telemetry-messages.ts';
import { silent } from '../../test/fixtures/journal.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import type { StoredEvent } from '../events/event-log.ts';
import { openClusterEvents } from './cluster-events.ts';

const BYTES = 200_000;
/** Of one kind and source in a minute, as server/events/event-rate-limit.ts has it; each comes from another source. */
const FLOOD = 400;

describeWithClients('events of a shared store', ['postgres'], () => {
  const postgres = suitePostgres();

  it('keep revocations when a flood of other events goes beyond the bound on bytes', async () => {
    const database = await postgres().open();
    const wakes = new PollingWakes(60_000);
    let now = START;
    const events = await openClusterEvents({
      cluster: {
        ...{ database, wakes, node: 'a', skew: () => ({ skew: 0, uncertainty: 0 }) },
        singletons: { compete: () => async () => {} },
      },
      registry: { exportAudit: async () => [], listAudit: async () => [] },
      ...{ trustDomain: 'fleet.example', retention: { age: 0, bytes: BYTES }, now: () => now, log: silent },
    });
    const at = () => ({ at: now, component: 'test' });
    await events.log.store(
      { ...at(), type: 'cert.revoked', subject: { kind: 'device', id: deviceNamed('thief') }, data: {} },
      'audit-1',
    );
    for (let day = 0; day < 4; day += 1) {
      for (let index = 0; index < FLOOD; index += 1) {
        const subject = { kind: 'device', id: deviceNamed(`dev-${index}`) } as const;
        events.log.record({ ...at(), type: 'presence.connected', subject, data: { address: '192.0.2.1' } });
      }
      await events.log.flushed();
      now += DAY;
    }
    const before = await events.log.list({ limit: 10_000 });
    await events.journal.prune();
    const after = await events.log.list({ limit: 10_000 });
    expect(before.length - after.length).toBeGreaterThan(FLOOD);
    const revoked = (all: readonly StoredEvent[]) => all.filter(({ type }) => type === 'cert.revoked');
    expect(revoked(after)).toEqual(revoked(before));
    expect(revoked(after)).toHaveLength(1);
    await events.close();
    await wakes.close();
  });
});
