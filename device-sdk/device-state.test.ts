import { once } from 'node:events';
import { afterAll, afterEach, beforeEach, expect } from 'vitest';
import { deviceTime } from '../test/fixtures/manual-time.ts';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { type BrokerScript, startScriptedBroker } from '../test/fixtures/scripted-broker.ts';
import { type EstScript, problem, startScriptedEstServer } from '../test/fixtures/scripted-est-server.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { Device } from './device.ts';
import type { DeviceOptions } from './device-options.ts';
import type { StateListener } from './device-state.ts';
import { fileIdentityStore } from './file-identity-store.ts';

const { describe, it } = testsWithClients('device-sdk/device-state.test.ts', ['openssl']);

const authority = makeScriptedAuthority();
afterAll(() => authority.dispose());
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** What happened, one line per transition: state, reason, and the code of the error if there was one. */
let story: string[];
const waiting = new Set<() => void>();
const onState: StateListener = (state, error, reason) => {
  story.push(`${state}: ${reason}${error === undefined ? '' : ` (${error.code})`}`);
  for (const look of [...waiting]) look();
};
beforeEach(() => {
  story = [];
  waiting.clear();
});

/** Resolves when the last line of the story begins with `line`. */
const told = (line: string) => until(() => story.at(-1)?.startsWith(line) === true);
/** Resolves when a line of the story has these words. */
const mentioned = (words: string) => until(() => story.some((line) => line.includes(words)));

function until(isSo: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (!isSo()) return;
      waiting.delete(look);
      resolve();
    };
    waiting.add(look);
    look();
  });
}

const isRenewal = ({ path }: { readonly path: string }) => path.endsWith('/simplereenroll');

async function start(script: { readonly est?: EstScript; readonly broker?: BrokerScript } = {}) {
  const broker = await startScriptedBroker(authority, script.broker);
  const time = deviceTime();
  const est = await startScriptedEstServer(authority, {
    mqttUrl: () => broker.mqttUrl,
    now: time.servers,
    ...script.est,
  });
  cleanups.push(
    () => broker.close(),
    () => est.close(),
  );
  const dataDir = temporaryDirectory();
  const open = async (options: Partial<DeviceOptions> = {}) => {
    const { now, schedule } = time;
    const device = await Device.open({
      ...{ dataDir, token: est.token(), deviceId: 'dev-7', now, schedule, random: () => 0, onState },
      mqttVersion: '3.1.1', // which the scripted broker speaks: each attempt is one connection
      ...options,
    } as DeviceOptions);
    cleanups.push(() => device.close());
    return device;
  };
  return { broker, est, time, open, dataDir };
}

describe('the states of a device', () => {
  it('tell of its first start, from no identity to the end', async () => {
    const { open } = await start();
    const device = await open();
    await device.connected();
    await device.close();
    expect(story).toEqual([
      'unenrolled: no identity',
      'enrolling: token given',
      'connecting: first try',
      'connected: accepted',
      'closed: closed',
    ]);
  });

  it('leave out what an enrolled device has behind it', async () => {
    const { open } = await start();
    await (await open()).close();
    story = [];
    const device = await open();
    expect(device.state).toBe('connecting');
    await device.connected();
    expect(story).toEqual(['connecting: first try', 'connected: accepted']);
  });

  it('tell why a device could not be enrolled', async () => {
    const { open } = await start({
      est: { answer: (r) => (r.user === undefined ? undefined : problem(401, 'token_rejected')) },
    });
    await expect(open()).rejects.toMatchObject({ code: 'token_rejected' });
    expect(story).toEqual([
      'unenrolled: no identity',
      'enrolling: token given',
      'unenrolled: not enrolled (token_rejected)',
    ]);
    story = [];
    await expect(open({ token: undefined } as never)).rejects.toMatchObject({ code: 'token_required' });
    expect(story).toEqual(['unenrolled: no identity', 'unenrolled: not enrolled (token_required)']);
  });

  it('tell of a lost connection and the way back', async () => {
    const { broker, time, open } = await start();
    const device = await open();
    await device.connected();
    story = [];
    broker.cut(device.id);
    await told('recovering: connection lost');
    time.advance(0);
    await device.connected();
    expect(story).toEqual([
      'recovering: connection lost (connection_lost)',
      'connecting: next try',
      'connected: accepted',
    ]);
  });

  it('tell of a renewal as one thing, whatever the connection does meanwhile', async () => {
    const { open } = await start();
    const device = await open();
    await device.connected();
    story = [];
    await device.renew();
    expect(story).toEqual(['renewing: renewal began', 'connected: renewed']);
  });

  it('tell why a renewal failed', async () => {
    const { open } = await start({ est: { answer: (r) => (isRenewal(r) ? problem(503, 'unavailable') : undefined) } });
    const device = await open();
    await device.connected();
    story = [];
    await expect(device.renew()).rejects.toMatchObject({ code: 'unavailable' });
    expect(story).toEqual(['renewing: renewal began', 'connected: renewal failed (unavailable)']);
    expect(device.lastError?.code).toBe('unavailable');
  });
});

describe('a device that was revoked', () => {
  async function revoked() {
    let isRevoked = false;
    const servers = await start({
      broker: { connack: () => (isRevoked ? 5 : 0) },
      est: { answer: (r) => (isRevoked && isRenewal(r) ? problem(403, 'device_revoked') : undefined) },
    });
    const device = await servers.open();
    await device.connected();
    story = [];
    isRevoked = true;
    servers.broker.cut(device.id);
    await told('recovering: connection lost');
    await device.publish('temperature', 'waited');
    servers.time.advance(0); // the next try, which is refused
    await told('recovering: connection refused');
    servers.time.advance(0); // the enroll server is asked why
    await told('revoked');
    const pardon = () => {
      isRevoked = false;
    };
    return { ...servers, device, pardon };
  }

  it('asks why it is refused, once, and then nobody anything any more', async () => {
    const { device, est, broker, time } = await revoked();
    expect(story).toEqual([
      'recovering: connection lost (connection_lost)',
      'connecting: next try',
      'recovering: connection refused (connection_refused)',
      'renewing: renewal began',
      'revoked: refused for good (device_revoked)',
    ]);
    expect(device.lastError).toMatchObject({ code: 'device_revoked', status: 403 });
    expect(time.pending).toBe(0);
    expect(est.requests.filter(isRenewal)).toHaveLength(1);
    expect(broker.serials).toHaveLength(2);
    const refused = expect.objectContaining({ code: 'device_revoked' });
    expect(await Promise.allSettled([device.renew(), device.connected(), device.publish('t', 1)])).toEqual(
      Array(3).fill({ status: 'rejected', reason: refused }),
    );
    expect(est.requests.filter(isRenewal)).toHaveLength(1);
  });

  it('comes back with a new token, under its own name, and sends what waited', async () => {
    const { device, est, broker, pardon, time, dataDir } = await revoked();
    story = [];
    pardon();
    await device.enroll(est.token());
    await device.connected();
    await device.drained();
    expect(story).toEqual(['enrolling: token given', 'connecting: first try', 'connected: accepted']);
    expect(est.requests.at(-1)).toMatchObject({ user: 'dev-7', path: '/.well-known/est/simpleenroll' });
    expect(broker.messages.map(({ payload }) => payload)).toEqual(['waited']);
    expect(time.pending).toBe(1); // the next renewal
    expect((await fileIdentityStore(dataDir).load())?.certificatePem).toContain('BEGIN');
    expect(new Set(broker.serials).size).toBe(2);
  });

  it('stays revoked when the new token is refused', async () => {
    const { device, est } = await revoked();
    await expect(device.enroll('not a token')).rejects.toMatchObject({ code: 'token_malformed' });
    expect(device.state).toBe('revoked');
    expect(est.requests.filter(isRenewal)).toHaveLength(1);
  });

  it('finds out at its next renewal, if the broker does not tell', async () => {
    const { broker, time, open } = await start({
      est: { answer: (r) => (isRenewal(r) ? problem(403, 'device_revoked') : undefined) },
    });
    const device = await open();
    await device.connected();
    const gone = once(broker.events, 'gone');
    await expect(device.renew()).rejects.toMatchObject({ code: 'device_revoked' });
    await gone;
    expect(device.state).toBe('revoked');
    expect(time.pending).toBe(0);
  });
});

describe('a device that is refused for another reason', () => {
  it('gets a new certificate once, and does not ask for one at each refusal', async () => {
    let refuses = true;
    const { est, time, open } = await start({ broker: { connack: () => (refuses ? 5 : 0) } });
    const device = await open({ random: () => 0.5 });
    await expect(device.connected()).rejects.toMatchObject({ code: 'connection_refused' });
    time.advance(15_000); // a new certificate is asked for, and refused as well
    await mentioned('renewal failed');
    await told('recovering'); // with the old one again
    for (const _round of [1, 2, 3]) {
      time.advance(60_000);
      await told('connecting: next try');
      await told('recovering: connection refused');
    }
    expect(est.requests.filter(isRenewal)).toHaveLength(1);
    refuses = false;
    time.advance(130_000);
    await device.connected();
  });
});
