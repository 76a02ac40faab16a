/** Wills and what happens at the same time: reconnections, other wills, changes of their owners. Cites MQTT 5. */

import { Problem } from '@rollcall/protocol';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { aboutOf, held, minute, pass, Run, START, settle, withoutTime } from '../../test/fixtures/broker/wills-run.ts';
import type { DueWill } from './wills.ts';

beforeEach(withoutTime);
afterEach(() => {
  vi.useRealTimers();
});

describe('a client that reconnects', () => {
  it('is accepted after its will without a delay is published, even if it resumes the session', async () => {
    const run = new Run();
    const stored = held();
    run.publish = () => stored.promise;
    await run.connect('dev-1');
    run.lose('dev-1');
    let isAccepted = false;
    const accepted = run.wills.reconnected('dev-1', { resumes: true }).then(() => {
      isAccepted = true;
    });
    expect(run.published).toEqual(['dev-1 off']);
    await settle();
    expect(isAccepted).toBe(false);
    stored.resolve();
    await accepted;
    await pass(60);
    expect(run.published).toHaveLength(1);
  });

  it('waits no longer than a second for a will that cannot be stored', async () => {
    const run = new Run();
    run.publish = () => new Promise(() => {});
    await run.connect('dev-1');
    run.lose('dev-1');
    const accepted = run.wills.reconnected('dev-1', { resumes: true });
    await pass(1);
    await accepted;
  });

  it('does not wait for the wills of others', async () => {
    const run = new Run();
    run.publish = ({ clientId }) => (clientId === 'last' ? Promise.resolve() : new Promise(() => {}));
    for (let index = 0; index < 60; index += 1) {
      await run.connect(`dev-${index}`);
      run.lose(`dev-${index}`);
    }
    await run.connect('last');
    await settle();
    run.lose('last');
    await settle();
    expect(run.published).not.toContain('last off');
    await run.wills.reconnected('last', { resumes: true });
    expect(run.published).toContain('last off');
  });

  it('too late to cancel its will does not cancel it, even if the will waits for the publication of others', async () => {
    const run = new Run();
    run.publish = () => new Promise(() => {});
    for (let index = 0; index < 50; index += 1) {
      await run.connect(`dev-${index}`);
      run.lose(`dev-${index}`);
    }
    await run.connect('last', minute);
    run.lose('last');
    await pass(60);
    expect(run.published).not.toContain('last off');
    void run.wills.reconnected('last', { resumes: true });
    expect(run.published).toContain('last off');
  });

  it('without a will does not publish that of its former connection when its own ends', async () => {
    const run = new Run();
    const stored = held();
    run.publish = () => stored.promise;
    await run.connect('dev-1');
    run.lose('dev-1');
    const accepted = run.wills.reconnected('dev-1', { resumes: true });
    await pass(1);
    await accepted;
    run.lose('dev-1');
    stored.resolve();
    await pass(60);
    expect(run.published).toEqual(['dev-1 off']);
  });

  it('makes a failure of its old will final', async () => {
    const run = new Run();
    run.publish = () => Promise.reject(new Problem('unavailable'));
    await run.connect('dev-1');
    run.lose('dev-1');
    await run.wills.reconnected('dev-1', { resumes: true });
    await pass(60);
    expect([run.published.length, run.disk.records.size, run.wills.pendingCount]).toEqual([1, 0, 0]);
  });
});

describe('wills that are due at once', () => {
  it('are published a limited number at a time', async () => {
    const run = new Run();
    let open = 0;
    let most = 0;
    run.publish = async () => {
      open += 1;
      most = Math.max(most, open);
      await new Promise(setImmediate);
      open -= 1;
    };
    for (let index = 0; index < 10_000; index += 1) {
      await run.connect(`dev-${index}`, minute);
      run.lose(`dev-${index}`);
    }
    await pass(61);
    expect([run.published.length, run.disk.records.size]).toEqual([10_000, 0]);
    expect(most).toBeLessThanOrEqual(50);
  });

  it('leave turns to other work, even if each is refused at once', async () => {
    const run = new Run();
    for (let index = 0; index < 200; index += 1) {
      await run.connect(`dev-${index}`);
      run.lose(`dev-${index}`);
    }
    const counts = [0];
    const otherWork = () => {
      counts.push(run.published.length);
      if (run.published.length < 200) setImmediate(otherWork);
    };
    setImmediate(otherWork);
    await pass(1);
    expect(counts.at(-1)).toBe(200);
    const inOneTurn = counts.slice(1).map((count, turn) => count - (counts[turn] ?? 0));
    expect(Math.max(...inOneTurn)).toBe(50);
  });

  it('are tried again while the storage is unavailable, with one line of log', async () => {
    const run = new Run();
    run.publish = () => Promise.reject(new Problem('unavailable', { reason: 'queue full' }));
    for (let index = 0; index < 20; index += 1) {
      await run.connect(`dev-${index}`);
      run.lose(`dev-${index}`);
    }
    await settle();
    expect([run.published.length, run.disk.records.size, run.lines.length]).toEqual([20, 20, 1]);
    run.publish = () => Promise.resolve();
    await pass(10);
    expect([run.published.length, run.disk.records.size]).toEqual([40, 0]);
  });

  it('are not tried again after an error of another kind', async () => {
    const run = new Run();
    run.publish = () => Promise.reject(new Error('broken'));
    await run.connect('dev-1');
    run.lose('dev-1');
    await pass(60);
    expect([run.published.length, run.disk.records.size, run.lines.length]).toEqual([1, 0, 1]);
  });
});

describe('the wills of an owner', () => {
  it('that is revoked are not published any more, and are gone from the disk', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    await run.connect('dev-2', minute);
    run.lose('dev-1');
    run.lose('dev-2');
    await run.wills.dropOwner('device/dev-1');
    expect([...run.disk.records.keys()]).toEqual(['dev-2']);
    await pass(60);
    expect(run.published).toEqual(['dev-2 off']);
    expect([...run.wills.owners()]).toEqual([]);
  });

  it('that is revoked while its client is connected are not published when the connection ends', async () => {
    const run = new Run();
    await run.connect('dev-1');
    await run.wills.dropOwner('device/dev-1');
    run.lose('dev-1');
    await settle();
    expect(run.published).toEqual([]);
  });

  it('that is revoked during the publication are marked as dropped', async () => {
    const run = new Run();
    const stored = held();
    let will: DueWill | undefined;
    run.publish = (due) => {
      will = due;
      return stored.promise;
    };
    await run.connect('dev-1');
    run.lose('dev-1');
    await settle();
    expect(will?.isDropped).toBe(false);
    await run.wills.dropOwner('device/dev-1');
    expect(will?.isDropped).toBe(true);
    stored.resolve();
    await settle();
    expect(run.wills.pendingCount).toBe(0);
  });

  it('are decided with the subject that it has when they are due', async () => {
    const run = new Run();
    const subjects: unknown[] = [];
    run.publish = async ({ about }) => {
      subjects.push(about.subject);
    };
    await run.connect('dev-1', minute);
    await run.connect('dev-2', minute);
    run.lose('dev-1');
    const quarantined = { ...aboutOf('dev-1').subject, isQuarantined: true };
    run.wills.setSubject('device/dev-1', quarantined);
    run.wills.setSubject('device/dev-2', aboutOf('dev-2').subject);
    run.lose('dev-2');
    await pass(60);
    expect(subjects).toEqual([quarantined, aboutOf('dev-2').subject]);
    expect(run.disk.records.size).toBe(0);
  });

  it('keep their time when the subject changes', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    const dueAt = run.disk.records.get('dev-1')?.dueAt;
    run.wills.setSubject('device/dev-1', { ...aboutOf('dev-1').subject, labels: { site: 'b' } });
    expect(run.disk.records.get('dev-1')?.dueAt).toBe(dueAt);
    expect(dueAt).toBe(START + 60_000);
  });
});
