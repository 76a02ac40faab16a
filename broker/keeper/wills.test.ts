/** Wills: stored, published, cancelled, delayed. Cites MQTT 5. */

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  aboutOf,
  held,
  minute,
  pass,
  Run,
  START,
  settle,
  willMessage,
  withoutTime,
} from '../../test/fixtures/broker/wills-run.ts';

beforeEach(withoutTime);
afterEach(() => {
  vi.useRealTimers();
});

describe('a will', () => {
  it('is on disk before its connection is accepted', async () => {
    const run = new Run();
    const sync = held();
    run.disk.sync = () => sync.promise;
    let isAccepted = false;
    const accepted = run.wills.put('dev-1', willMessage(), aboutOf('dev-1')).then(() => {
      isAccepted = true;
    });
    await settle();
    expect([isAccepted, run.disk.records.has('dev-1')]).toEqual([false, true]);
    sync.resolve();
    await accepted;
  });

  it('that cannot be stored is refused, and leaves nothing behind', async () => {
    const run = new Run();
    run.disk.isFull = true;
    await expect(run.wills.put('dev-1', willMessage(), aboutOf('dev-1'))).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect([...run.wills.owners(), ...run.disk.records]).toEqual([]);
  });

  it('is published when its connection is lost, and then removed from the disk', async () => {
    const run = new Run();
    await run.connect('dev-1');
    run.lose('dev-1');
    await settle();
    expect(run.published).toEqual(['dev-1 off']);
    expect([run.disk.records.size, run.wills.pendingCount, ...run.wills.owners()]).toEqual([0, 0]);
    await pass(3_600);
    expect(run.published).toHaveLength(1);
  });

  it('is removed without publication after a DISCONNECT with reason code 0 [MQTT-3.14.4-3]', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.wills.connectionEnded('dev-1', { publishes: false, sessionExpiryInterval: 3_600 });
    expect(run.disk.records.size).toBe(0);
    await pass(3_600);
    expect(run.published).toEqual([]);
  });

  it('stays on disk until its publication is complete', async () => {
    const run = new Run();
    const stored = held();
    run.publish = () => stored.promise;
    await run.connect('dev-1');
    run.lose('dev-1');
    await settle();
    expect(run.disk.records.has('dev-1')).toBe(true);
    stored.resolve();
    await settle();
    expect(run.disk.records.has('dev-1')).toBe(false);
  });

  it('of a new connection stays on disk when that of the connection before is published late', async () => {
    const run = new Run();
    const stored = held();
    run.publish = () => stored.promise;
    await run.connect('dev-1', { payload: Buffer.from('first') });
    run.lose('dev-1');
    const connected = run.connect('dev-1', { payload: Buffer.from('second') });
    await pass(1);
    await connected;
    stored.resolve();
    await settle();
    expect(run.disk.records.get('dev-1')?.payload.toString()).toBe('second');
  });

  it('of a new connection is published after that of the connection before', async () => {
    const run = new Run();
    const stored = held();
    run.publish = () => stored.promise;
    await run.connect('dev-1', { payload: Buffer.from('first') });
    run.lose('dev-1');
    const connected = run.connect('dev-1', { payload: Buffer.from('second') });
    await pass(1);
    await connected;
    run.lose('dev-1');
    await settle();
    expect(run.published).toEqual(['dev-1 first']);
    stored.resolve();
    await settle();
    expect(run.published).toEqual(['dev-1 first', 'dev-1 second']);
  });
});

describe('a will with a delay', () => {
  it('is published when the delay has passed', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    await pass(59.9);
    expect(run.published).toEqual([]);
    await pass(0.2);
    expect(run.published).toEqual(['dev-1 off']);
  });

  it('is published at once when its session ends with the connection', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1', 0);
    await settle();
    expect(run.published).toEqual(['dev-1 off']);
  });

  it('waits no longer than its session lasts', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1', 5);
    await pass(5);
    expect(run.published).toEqual(['dev-1 off']);
  });

  it('is published at once when its session is removed', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    run.wills.sessionEnded('dev-1');
    await settle();
    expect(run.published).toEqual(['dev-1 off']);
  });

  it('is not published when the session of a connected client is reported as ended', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.wills.sessionEnded('dev-1');
    await pass(3_600);
    expect(run.published).toEqual([]);
  });

  it('is cancelled when its client resumes the session [MQTT-3.1.3-9]', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    await pass(59);
    await run.wills.reconnected('dev-1', { resumes: true });
    expect(run.disk.records.size).toBe(0);
    await pass(3_600);
    expect(run.published).toEqual([]);
  });

  it('is cancelled on disk before its client is accepted', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    const sync = held();
    run.disk.sync = () => sync.promise;
    let isAccepted = false;
    const accepted = run.wills.reconnected('dev-1', { resumes: true }).then(() => {
      isAccepted = true;
    });
    await settle();
    expect(isAccepted).toBe(false);
    sync.resolve();
    await accepted;
  });

  it('is published first when its client begins a new session', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    await run.wills.reconnected('dev-1', { resumes: false });
    expect(run.published).toEqual(['dev-1 off']);
  });

  it('is cancelled by a takeover that resumes the session, and replaced by the will of the new connection', async () => {
    const run = new Run();
    await run.connect('dev-1', { ...minute, payload: Buffer.from('first') });
    run.lose('dev-1');
    await run.connect('dev-1', { ...minute, payload: Buffer.from('second') }, true);
    run.lose('dev-1');
    await pass(60);
    expect(run.published).toEqual(['dev-1 second']);
  });

  it('of 49 days is not published before', async () => {
    const run = new Run();
    const seconds = 49 * 86_400;
    await run.connect('dev-1', { delayInterval: seconds });
    run.lose('dev-1', 0xffffffff);
    await pass(seconds - 1);
    expect(run.published).toEqual([]);
    await pass(1);
    expect(run.published).toEqual(['dev-1 off']);
  });

  it('needs one timer, whatever number waits, and none after they are cancelled and due', async () => {
    const run = new Run();
    for (let index = 0; index < 100; index += 1) {
      await run.connect(`dev-${index}`, { delayInterval: 100 - index });
      run.lose(`dev-${index}`);
    }
    expect(vi.getTimerCount()).toBe(1);
    for (let index = 0; index < 100; index += 1) await run.wills.reconnected(`dev-${index}`, { resumes: true });
    await pass(100);
    expect([vi.getTimerCount(), run.wills.pendingCount, run.published.length]).toEqual([0, 0, 0]);
  });
});

describe('a step of the clock', () => {
  it.each([
    ['back', -3_600_000],
    ['forth', 3_600_000],
  ])('%s does not change when a will is due', async (_, step) => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    vi.setSystemTime(Date.now() + step);
    await pass(59);
    expect(run.published).toEqual([]);
    await pass(1);
    expect(run.published).toEqual(['dev-1 off']);
  });

  it('back during a restart makes no will wait for longer than its delay', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    await run.crash();
    vi.setSystemTime(START - 3_600_000);
    const next = new Run(run.disk, { 'dev-1': 7_200 });
    await pass(60);
    expect(next.published).toEqual(['dev-1 off']);
  });
});
