/** Wills over a restart of the server. Cites MQTT 5. */

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  Disk,
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

describe('after a restart', () => {
  it('the will of a client that was connected is published after the grace period', async () => {
    const run = new Run();
    await run.connect('dev-1');
    await run.crash();
    const next = new Run(run.disk);
    await pass(9.9);
    expect(next.published).toEqual([]);
    await pass(0.2);
    expect([next.published, next.disk.records.size]).toEqual([['dev-1 off'], 0]);
  });

  it('the will of a client that was connected waits for its delay if that is longer', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    await run.crash();
    const next = new Run(run.disk, { 'dev-1': 3_600 });
    await pass(59);
    expect(next.published).toEqual([]);
    await pass(1);
    expect(next.published).toEqual(['dev-1 off']);
  });

  it('the will of a client without a stored session does not wait for its delay', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    await run.crash();
    const next = new Run(run.disk);
    await pass(10);
    expect(next.published).toEqual(['dev-1 off']);
  });

  it('a delay continues where it was', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    await pass(20);
    await run.crash();
    const next = new Run(run.disk, { 'dev-1': 3_600 });
    await pass(39);
    expect(next.published).toEqual([]);
    await pass(1);
    expect(next.published).toEqual(['dev-1 off']);
  });

  it('wills that became due meanwhile leave their clients the grace period to resume their sessions', async () => {
    const run = new Run();
    for (const name of ['dev-1', 'dev-2', 'dev-3']) {
      await run.connect(name, minute);
      run.lose(name);
    }
    await run.crash();
    vi.setSystemTime(START + 3_600_000);
    const sessions = { 'dev-1': 7_200, 'dev-2': 7_200, 'dev-3': 7_200 };
    const next = new Run(run.disk, sessions);
    await pass(9);
    await next.wills.reconnected('dev-1', { resumes: true });
    await next.wills.reconnected('dev-2', { resumes: false });
    await pass(1);
    expect(next.published).toEqual(['dev-2 off', 'dev-3 off']);
  });

  it('a will without a delay is published first when its client comes back', async () => {
    const run = new Run();
    await run.connect('dev-1', { payload: Buffer.from('first') });
    await run.crash();
    const next = new Run(run.disk, { 'dev-1': 3_600 });
    await next.connect('dev-1', { payload: Buffer.from('second') }, true);
    expect(next.published).toEqual(['dev-1 first']);
    await pass(60);
    expect(next.published).toHaveLength(1);
    next.lose('dev-1');
    await settle();
    expect(next.published).toEqual(['dev-1 first', 'dev-1 second']);
  });

  it('a will of an owner that was revoked while the server was down can be dropped', async () => {
    const run = new Run();
    await run.connect('dev-1');
    await run.crash();
    const next = new Run(run.disk);
    expect([...next.wills.owners()]).toEqual(['device/dev-1']);
    await next.wills.dropOwner('device/dev-1');
    await pass(60);
    expect([next.published, next.disk.records.size]).toEqual([[], 0]);
  });

  it('a will whose owner cannot be read is removed', async () => {
    const disk = new Disk();
    for (const about of ['', '{', 'null', '{"owner":1}', '{"owner":"device/dev-1"}']) {
      disk.records.set(`client ${about}`, { ...willMessage(), about, dueAt: undefined });
    }
    const run = new Run(disk);
    await pass(60);
    expect([run.published, disk.records.size]).toEqual([[], 0]);
  });
});

describe('when the server stops', () => {
  it('a will without a delay is removed, and one with a delay stays for the next start', async () => {
    const run = new Run();
    await run.connect('dev-1');
    await run.connect('dev-2', minute);
    run.wills.stop();
    run.lose('dev-1');
    run.lose('dev-2');
    await pass(3);
    expect([...run.disk.records.keys()]).toEqual(['dev-2']);
    const next = new Run(run.disk, { 'dev-2': 3_600 });
    await pass(57);
    expect([run.published, next.published]).toEqual([[], ['dev-2 off']]);
  });

  it('wills that wait stay for the next start', async () => {
    const run = new Run();
    await run.connect('dev-1', minute);
    run.lose('dev-1');
    run.wills.stop();
    await pass(120);
    expect([run.published, run.disk.records.size]).toEqual([[], 1]);
  });
});
