/** Cites MQTT 5. */

import { Problem } from '@rollcall/protocol';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DEFAULT, device } from '../../test/fixtures/broker/test-broker.ts';
import type { WillMessage } from '../mqtt/packets.ts';
import type { WillRecord } from '../session-store/will-records.ts';
import type { WillAbout, WillStore } from './owned-wills.ts';
import { type DueWill, Wills } from './wills.ts';

const GRACE = 10_000;
const START = Date.UTC(2026, 0, 1);

beforeEach(() => {
  vi.useFakeTimers({
    now: START,
    toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'clearImmediate', 'performance', 'Date'],
  });
});
afterEach(() => {
  vi.useRealTimers();
});

/** What is on disk; a change is there at once. */
class Disk implements WillStore {
  readonly records = new Map<string, WillRecord>();
  isFull = false;
  sync: () => Promise<void> = () => Promise.resolve();

  wills(): Iterable<readonly [string, WillRecord]> {
    return this.records;
  }

  willOf(clientId: string): WillRecord | undefined {
    return this.records.get(clientId);
  }

  putWill(clientId: string, will: WillRecord): void {
    this.records.set(clientId, will);
  }

  setWillDue(clientId: string, dueAt: number | undefined): void {
    const will = this.records.get(clientId);
    if (will !== undefined) this.records.set(clientId, { ...will, dueAt });
  }

  removeWill(clientId: string): WillRecord | undefined {
    const will = this.records.get(clientId);
    this.records.delete(clientId);
    return will;
  }

  hasRoom(): boolean {
    return !this.isFull;
  }

  durable(): Promise<void> {
    return this.sync();
  }
}

/** A server run over a disk. */
class Run {
  readonly disk: Disk;
  readonly wills: Wills;
  /** `CLIENT PAYLOAD`, in the order of publication. */
  readonly published: string[] = [];
  readonly lines: string[] = [];
  publish: (will: DueWill) => Promise<void> = () => Promise.resolve();

  constructor(disk = new Disk(), expiries: Readonly<Record<string, number>> = {}) {
    this.disk = disk;
    this.wills = new Wills({
      store: disk,
      gracePeriod: GRACE,
      now: Date.now,
      log: pino({}, { write: (line: string) => this.lines.push(line) }),
      sessionExpiryOf: (clientId) => expiries[clientId],
      publish: (will) => {
        this.published.push(`${will.clientId} ${will.message.payload}`);
        return this.publish(will);
      },
    });
  }

  /** A connection of a client with a will. */
  async connect(clientId: string, will: Partial<WillMessage> = {}, resumes = false): Promise<void> {
    await this.wills.reconnected(clientId, { resumes });
    await this.wills.put(clientId, willMessage(will), aboutOf(clientId));
  }

  lose(clientId: string, sessionExpiryInterval = 3_600): void {
    this.wills.connectionEnded(clientId, { publishes: true, sessionExpiryInterval });
  }

  /** The server ends without a word. */
  async crash(): Promise<void> {
    this.wills.stop();
    await settle();
  }
}

function willMessage(fields: Partial<WillMessage> = {}): WillMessage {
  return {
    topic: 'devices/dev-1/events/offline',
    payload: Buffer.from('off'),
    qos: 1,
    retain: false,
    properties: undefined,
    messageExpiryInterval: undefined,
    delayInterval: 0,
    ...fields,
  };
}

const aboutOf = (clientId: string): WillAbout => ({
  owner: `device/${clientId}`,
  subject: { identity: device(clientId), group: DEFAULT, labels: {} },
});

const settle = () => vi.advanceTimersByTimeAsync(1);
/** One ms more: timers have whole milliseconds. */
const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000 + 1);
const minute = { delayInterval: 60 } as const;

/** A promise that the test resolves. */
function held(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { promise, resolve };
}

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
