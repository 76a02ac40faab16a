/** Events that devices can cause without limit evict none of operators, certificates and security. */

import type { LifecycleType } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { Cursor, positionNumber, type StoredMessage, type Telemetry } from '../../telemetry/index.ts';
import { openTelemetry } from '../../telemetry/open.ts';
import { silent } from '../../test/fixtures/journal.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { openEventJournal } from './event-journal.ts';

const BYTES = 1_048_576;
const NOON = Date.UTC(2030, 0, 1, 12);
const AUDIT_KEY = 'audit-7';

const open = (directory: string, retention = { age: 0, bytes: BYTES }, now = () => NOON) =>
  openEventJournal({ directory, retention, now, log: silent });

async function store(journal: Telemetry<string>, type: LifecycleType, count: number, bytes = 400): Promise<void> {
  const payload = Buffer.alloc(bytes, 'x');
  for (let rest = count; rest > 0; rest -= 500) {
    const batch = Array.from({ length: Math.min(rest, 500) }, (_, n) => `dev-${n}`);
    await Promise.all(
      batch.map((device) => journal.accept({ device, stream: type, receivedAt: NOON, qos: 1, payload })),
    );
  }
}

const revoke = (journal: Telemetry<string>, device = 'thief') =>
  journal.accept({
    device: device,
    stream: 'cert.revoked',
    receivedAt: NOON,
    qos: 1,
    payload: Buffer.from('{"revoked":true}'),
    key: AUDIT_KEY,
    contentType: 'application/cloudevents+json',
  });

async function read(
  journal: Telemetry<string>,
  range: Parameters<Telemetry<string>['pages']>[0] = {},
): Promise<StoredMessage<string>[]> {
  const found: StoredMessage<string>[] = [];
  for await (const page of journal.pages(range)) found.push(...page);
  return found;
}

const typed = (events: readonly StoredMessage<string>[], type: string) =>
  events.filter(({ stream }) => stream === type);

/** Where the journal itself, without its reserve, begins. */
const beginOf = async (journal: Telemetry<string>) => (await journal.stats()).segments[0]?.firstPosition ?? 0;

describe('a journal of events with a bound on bytes', () => {
  it('removes what devices cause, and keeps a revocation with its position', async () => {
    const journal = await open(temporaryDirectory());
    await store(journal, 'presence.connected', 10);
    await revoke(journal);
    const [before] = typed(await read(journal), 'cert.revoked');
    await store(journal, 'presence.disconnected', 10_000);
    await journal.prune();
    expect(await beginOf(journal)).toBeGreaterThan(11);
    const events = await read(journal);
    expect(typed(events, 'cert.revoked')).toEqual([before]);
    expect(before).toMatchObject({ position: 11, device: 'thief', key: AUDIT_KEY });
    expect((await journal.stats()).bytes).toBeLessThan(BYTES);
    await journal.close();
  });

  it('is read in the order of positions, from any position, and returns none twice', async () => {
    const journal = await open(temporaryDirectory());
    for (let n = 0; n < 40; n += 1) {
      await store(journal, 'presence.connected', 200);
      await revoke(journal, `device-${n}`);
      await store(journal, 'cert.renewed', 3);
    }
    await journal.prune();
    const numbers = (events: readonly StoredMessage<string>[]) =>
      events.map(({ position }) => positionNumber(position));
    const all = numbers(await read(journal));
    expect(all).toEqual([...new Set(all)].toSorted((one, other) => one - other));
    for (const after of [0, 201, 203, 900, all.at(-10) as number]) {
      const found = await read(journal, { after: Cursor.parse(`${after}`) as Cursor });
      expect(numbers(found)).toEqual(all.filter((one) => one > after));
    }
    const begin = await beginOf(journal);
    expect(begin).toBeGreaterThan(1_000);
    expect(typed(await read(journal, { stream: 'cert.renewed' }), 'cert.renewed')).toHaveLength(120);
    expect(await read(journal, { device: 'device-0' })).toHaveLength(1);
    expect(await read(journal, { device: 'device-0', until: NOON })).toHaveLength(0);
    await journal.close();
  });

  it('bounds the bytes of each class: renewals evict renewals only', async () => {
    const journal = await open(temporaryDirectory());
    await revoke(journal);
    await store(journal, 'security.clone_suspected', 1);
    await store(journal, 'cert.renewed', 8_000);
    await journal.prune();
    const events = await read(journal);
    expect(typed(events, 'cert.revoked')).toHaveLength(1);
    expect(typed(events, 'security.clone_suspected')).toHaveLength(1);
    expect(events[2]?.position).toBeGreaterThan(1_000);
    await journal.close();
  });

  it('of a version without a reserve opens, and loses nothing that belongs there', async () => {
    const directory = temporaryDirectory();
    const old = await openTelemetry<string>({ directory, now: () => NOON, log: silent });
    await revoke(old);
    await store(old, 'presence.connected', 6_000);
    await old.close();
    const journal = await open(directory);
    await store(journal, 'presence.disconnected', 6_000);
    await journal.prune();
    expect(await beginOf(journal)).toBeGreaterThan(1);
    expect((await read(journal))[0]).toMatchObject({ position: 1, stream: 'cert.revoked' });
    await journal.close();
  });

  it('loses nothing of its reserve when it is opened again', async () => {
    const directory = temporaryDirectory();
    const first = await open(directory);
    await revoke(first);
    await store(first, 'presence.connected', 8_000);
    await first.prune();
    await first.close();
    const second = await open(directory);
    await store(second, 'presence.connected', 8_000);
    await second.prune();
    expect(typed(await read(second), 'cert.revoked')).toHaveLength(1);
    await second.close();
  });

  it('removes by age in every class', async () => {
    const directory = temporaryDirectory();
    const age = 7 * 86_400_000;
    const first = await open(directory, { age, bytes: BYTES });
    await revoke(first);
    await store(first, 'presence.connected', 8_000);
    await first.prune();
    await first.close();
    const second = await open(directory, { age, bytes: BYTES }, () => NOON + age + 1);
    await second.prune();
    expect(typed(await read(second), 'cert.revoked')).toEqual([]);
    await second.close();
  });
});
