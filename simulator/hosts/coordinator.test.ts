import { once } from 'node:events';
import { createServer } from 'node:net';
import { connect } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { FLEET_NAMES } from '../devices/broker-names.ts';
import type { FromShard, ShardConfig } from '../devices/shard-messages.ts';
import { preciseNow } from '../devices/timer-wheel.ts';
import { RunRefused } from '../run/run-options.ts';
import { Coordinator } from './coordinator.ts';
import { encodeFrame, UNAUTHENTICATED_FRAME_BYTES } from './frames.ts';
import { HOST_PROTOCOL } from './host-messages.ts';
import { type JoinOptions, joinRun, type Verdict } from './joined-host.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const PATIENCE_MS = 60_000;

async function coordinate(hosts: number) {
  const events: string[] = [];
  const coordinator = await Coordinator.listen({
    ...{ host: '127.0.0.1', port: 0, hosts, version: '1.2.3', now: Date.now },
    onEvent: (sentence) => events.push(sentence),
  });
  cleanups.push(() => coordinator.close('none'));
  return { coordinator, events };
}

function join(coordinator: Coordinator, name: string, over: Partial<JoinOptions> = {}): Promise<Verdict> {
  const { port, fingerprint, secret } = coordinator;
  return joinRun({ host: '127.0.0.1', port, fingerprint, secret, name, version: '1.2.3', ...over });
}

/** Resolves when it has joined; `verdict` at the end of the run. */
async function joined(coordinator: Coordinator, name: string, over: Partial<JoinOptions> = {}) {
  const here = Promise.withResolvers<void>();
  const verdict = join(coordinator, name, { ...over, onJoined: here.resolve });
  verdict.catch(() => {});
  await Promise.race([here.promise, verdict]);
  return { verdict };
}

describe('hosts that join', () => {
  it('are gathered when all are there, and hear the verdict', async () => {
    const { coordinator } = await coordinate(2);
    const gathered = coordinator.waitForHosts(PATIENCE_MS);
    const a = await joined(coordinator, 'a');
    const b = await joined(coordinator, 'b');
    await gathered;
    await coordinator.close('passed');
    expect([await a.verdict, await b.verdict]).toEqual(['passed', 'passed']);
  });

  it('have shards in the config of their names, however they came', async () => {
    const { coordinator } = await coordinate(2);
    await joined(coordinator, 'b', { workers: 1 });
    await joined(coordinator, 'a', { workers: 3, sourceAddresses: ['127.0.0.1', '127.0.0.2'] });
    await coordinator.waitForHosts(PATIENCE_MS);
    const places = coordinator.placement({ devices: 400, behindProxy: 0 });
    expect(places.shards).toBe(4);
    expect(places.hosts()).toMatchObject([
      { name: 'a', workers: 3, sourceAddresses: 2, address: '127.0.0.1' },
      { name: 'b', workers: 1, sourceAddresses: 0 },
    ]);
  });

  it('that are an hour ahead are known to be, to within half of the shortest exchange', async () => {
    const { coordinator } = await coordinate(1);
    await joined(coordinator, 'a', { now: () => preciseNow() + 3_600_000 });
    await coordinator.waitForHosts(PATIENCE_MS);
    const places = coordinator.placement({ devices: 1, behindProxy: 0 });
    const [{ clockOffsetMs, clockErrorMs }] = places.hosts() as [ReturnType<typeof places.hosts>[number]];
    expect(Math.abs(clockOffsetMs - 3_600_000)).toBeLessThanOrEqual(clockErrorMs + 0.01); // a double of today's date
    expect(places.clockOffset(0)).toBe(clockOffsetMs);
  });

  it('without the open files for their part are refused, by name', async () => {
    const { coordinator } = await coordinate(1);
    await joined(coordinator, 'small');
    await coordinator.waitForHosts(PATIENCE_MS);
    const fleet = { devices: 100_000_000, behindProxy: 0 };
    expect(() => coordinator.placement(fleet)).toThrow(RunRefused);
    expect(() => coordinator.placement(fleet)).toThrow(/^host "small": expected /);
  });

  it('that leave before the run make room for another host', async () => {
    const { coordinator, events } = await coordinate(2);
    const leaving = new AbortController();
    const { verdict } = await joined(coordinator, 'a', { signal: leaving.signal });
    leaving.abort();
    await expect(verdict).rejects.toMatchObject({ code: 'coordinator_lost' });
    await expect.poll(() => events.at(-1)).toMatch(/^host a left: /);
    await joined(coordinator, 'a');
    await joined(coordinator, 'b');
    await coordinator.waitForHosts(PATIENCE_MS);
  });

  it('and never say what time it is end the waiting no later than its signal', async () => {
    const { coordinator } = await coordinate(1);
    const { port, secret } = coordinator;
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    socket.on('error', () => {});
    cleanups.push(() => socket.destroy());
    const heard: Buffer[] = [];
    const asked = new Promise<void>((resolve) => {
      socket.on('data', (bytes: Buffer) => {
        heard.push(bytes);
        if (Buffer.concat(heard).includes('"ping"')) resolve();
      });
    });
    const about = {
      name: 'mute',
      cores: 1,
      workers: 1,
      openFiles: 1,
      portsPerAddress: 1,
      sourceAddresses: 0,
      memory: 0,
    };
    socket.write(encodeFrame({ protocol: HOST_PROTOCOL, secret, version: '1.2.3', ...about }));
    const ending = new AbortController();
    const gathered = expect(coordinator.waitForHosts(PATIENCE_MS, ending.signal)).rejects.toMatchObject({
      code: 'hosts_missing',
      reason: 'expected 1, found 1 (mute) when the run was ended',
    });
    await asked;
    ending.abort();
    await gathered;
  });

  it('too few, in the time there is, are told apart', async () => {
    const { coordinator } = await coordinate(2);
    await joined(coordinator, 'a');
    await expect(coordinator.waitForHosts(1)).rejects.toMatchObject({
      code: 'hosts_missing',
      reason: 'expected 2, found 1 (a) within 0.001 s',
    });
  });
});

const broker = { rootPem: '', clientChain: 'leaf', names: FLEET_NAMES } as const;

describe('a shard on a host', () => {
  it('that fails says on which', async () => {
    const { coordinator } = await coordinate(1);
    await joined(coordinator, 'hall-1');
    await coordinator.waitForHosts(PATIENCE_MS);
    const places = coordinator.placement({ devices: 1, behindProxy: 0 });
    const said = Promise.withResolvers<FromShard>();
    const port = places.open(0, { message: said.resolve, lost: said.reject });
    const config: ShardConfig = {
      ...{ shard: 0, seed: 1, devices: [], enrollUrl: undefined, rootPem: '', broker },
      groups: { d: { settings: { count: 1, kind: 'light', publish: [] } as never, recordings: {}, faults: [] } }, // no more
      ...{ mqtt: { host: '127.0.0.1', port: 1 }, sourceAddresses: [], clockOffset: 0, identities: 'dropped' },
    };
    port.post({ kind: 'prepare', config });
    expect(await said.promise).toEqual({ kind: 'failed', error: expect.stringMatching(/^host "hall-1": ./) });
  });

  it('is lost with its host, by name', async () => {
    const { coordinator } = await coordinate(1);
    const leaving = new AbortController();
    await joined(coordinator, 'hall-1', { signal: leaving.signal });
    await coordinator.waitForHosts(PATIENCE_MS);
    const lost = Promise.withResolvers<Error>();
    coordinator.placement({ devices: 1, behindProxy: 0 }).open(0, { message: () => {}, lost: lost.resolve });
    leaving.abort();
    expect(await lost.promise).toMatchObject({ code: 'host_lost', reason: expect.stringMatching(/^"hall-1" \(127/) });
  });
});

/** A host that has the secret and speaks frames of its own. Resolves when the run has its shard with one device, `pump-1`. */
async function hostileHost() {
  const { coordinator } = await coordinate(1);
  const { port, secret } = coordinator;
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  socket.on('error', () => {});
  cleanups.push(() => socket.destroy());
  const about = {
    name: 'bad',
    cores: 1,
    workers: 1,
    openFiles: 999,
    portsPerAddress: 999,
    sourceAddresses: 0,
    memory: 0,
  };
  socket.write(encodeFrame({ protocol: HOST_PROTOCOL, secret, version: '1.2.3', ...about }));
  await once(socket, 'data');
  socket.resume();
  const end = Promise.withResolvers<FromShard | Error>();
  const shard = coordinator
    .placement({ devices: 1, behindProxy: 0 })
    .open(0, { message: end.resolve, lost: end.resolve });
  const config: ShardConfig = {
    ...{ shard: 0, seed: 1, enrollUrl: undefined, rootPem: '', broker, groups: {} },
    devices: [{ index: 0, position: 0, id: 'pump-1', group: 'd', arrivesAt: 0 }],
    ...{ mqtt: { host: '127.0.0.1', port: 1 }, sourceAddresses: [], clockOffset: 0, identities: 'kept' },
  };
  shard.post({ kind: 'prepare', config });
  const report = (...ids: readonly string[]) => {
    const identities = Object.fromEntries(ids.map((id) => [id, { keyPem: 'k', certificatePem: 'c' }]));
    const counters = { counts: {}, errors: {}, reasons: {}, latencies: {} };
    socket.write(
      encodeFrame({ kind: 'shard', shard: 0, message: { kind: 'ended', counters, acknowledged: {}, identities } }),
    );
    return end.promise;
  };
  return { report };
}

describe('a host that reports identities', () => {
  it.each(['../../x', '..', '/etc/x', 'a/b', 'a\\b', '', 'a\0b', '.ssh', `a${'a'.repeat(64)}`])(
    'named %j is dropped, and the run hears nothing of it',
    async (name) => {
      const { report } = await hostileHost();
      expect(await report('pump-1', name)).toMatchObject({ code: 'host_lost' });
    },
  );

  it('of a device that it was not given is dropped', async () => {
    const { report } = await hostileHost();
    expect(await report('pump-2')).toMatchObject({
      code: 'host_lost',
      reason: expect.stringContaining('not given'),
    });
  });

  it('of its own device is heard', async () => {
    const { report } = await hostileHost();
    expect(await report('pump-1')).toMatchObject({ kind: 'ended', identities: { 'pump-1': { keyPem: 'k' } } });
  });
});

describe('a host is refused', () => {
  it('with a wrong secret', async () => {
    const { coordinator } = await coordinate(1);
    await expect(join(coordinator, 'a', { secret: 'a secret of another run' })).rejects.toMatchObject({
      code: 'join_secret_wrong',
      message: 'the secret is not that of the run',
    });
  });

  it('of another version, and without the secret it does not even learn that', async () => {
    const { coordinator } = await coordinate(1);
    await expect(join(coordinator, 'a', { version: '1.2.4' })).rejects.toMatchObject({
      code: 'join_version_mismatch',
      reason: 'the run is of version 1.2.3, this host of another',
    });
    await expect(join(coordinator, 'a', { version: '1.2.4', secret: 'guessed' })).rejects.toMatchObject({
      code: 'join_secret_wrong',
    });
  });

  it('when it joins twice', async () => {
    const { coordinator } = await coordinate(2);
    await joined(coordinator, 'a');
    await expect(join(coordinator, 'a')).rejects.toMatchObject({ code: 'join_twice', reason: '"a" is here already' });
  });

  it('when it comes late', async () => {
    const { coordinator } = await coordinate(1);
    await joined(coordinator, 'a');
    await expect(join(coordinator, 'b')).rejects.toMatchObject({ code: 'join_late' });
  });
});

describe('a stranger', () => {
  it('in place of the coordinator is told nothing', async () => {
    const { coordinator } = await coordinate(1);
    const { coordinator: other, events } = await coordinate(1);
    await expect(join(other, 'a', { fingerprint: coordinator.fingerprint })).rejects.toMatchObject({
      code: 'coordinator_unproven',
    });
    await other.close('none'); // after which nothing more can be said to it
    expect(events).toEqual([]);
  });

  it('that speaks no TLS is no coordinator', async () => {
    const server = createServer((socket) => socket.end('220 mail ready\r\n'));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanups.push(() => server.close());
    const { coordinator } = await coordinate(1);
    const { port } = server.address() as { readonly port: number };
    await expect(join(coordinator, 'a', { port })).rejects.toMatchObject({ code: 'server_unreachable' });
  });

  it('with a long first message is sent away at its head', async () => {
    const { coordinator, events } = await coordinate(1);
    const socket = connect({ host: '127.0.0.1', port: coordinator.port, rejectUnauthorized: false });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    const head = Buffer.alloc(4);
    head.writeUInt32BE(UNAUTHENTICATED_FRAME_BYTES + 1);
    socket.write(head);
    await once(socket, 'close');
    expect(events).toEqual([]);
    await joined(coordinator, 'a');
    await coordinator.waitForHosts(PATIENCE_MS);
  });

  it('that was refused and goes on talking is let go of all the same', async () => {
    const { coordinator, events } = await coordinate(1);
    const { port } = coordinator;
    const heldOpen = { host: '127.0.0.1', port, rejectUnauthorized: false, allowHalfOpen: true };
    const socket = connect(heldOpen);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {}); // what it says in the end is heard by nobody
    await once(socket, 'secureConnect');
    socket.write(encodeFrame({ protocol: HOST_PROTOCOL, secret: 'guessed', version: '1.2.3' }));
    socket.resume();
    await once(socket, 'end');
    const talking = setInterval(() => socket.write('more'), 50);
    cleanups.push(() => {
      clearInterval(talking);
      socket.destroy();
    });
    await closed;
    expect(events).toEqual(['a host from 127.0.0.1 was refused: join_secret_wrong']);
  });
});
