/** Storage that falls behind: who is not read meanwhile, what goes on, and that it ends by itself. */

import mqttPacket, { type Packet } from 'mqtt-packet';
import { pino } from 'pino';
import { afterEach, describe, expect, it, onTestFinished } from 'vitest';
import { openTelemetry } from '../../telemetry/open.ts';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import {
  device,
  LOGS_OF_ONE_BROKER,
  TestBroker,
  type TestBrokerOptions,
} from '../../test/fixtures/broker/test-broker.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';

let testBroker: TestBroker;
const start = async (options?: TestBrokerOptions) => {
  testBroker = await TestBroker.start(options);
};
afterEach(() => testBroker?.close());

const policies = {
  'service/*': { connect: ['*'], publish: ['devices/+/commands/+/+'], subscribe: ['#'], receive: ['#'], retain: [] },
};
const telemetry = 'devices/dev-1/telemetry/temp';
const stored = () => testBroker.accepted.map(({ payload }) => String(payload));

function publish(client: RawClient, id: number, topic = telemetry, qos: 0 | 1 | 2 = 1): void {
  const payload = String(id);
  client.send(mqttPacket.generate({ cmd: 'publish', topic, payload, qos, messageId: id, dup: false, retain: false }));
}

async function next(client: RawClient, cmd: Packet['cmd']): Promise<Packet | undefined> {
  for (;;) {
    const packet = await client.next();
    if (packet === undefined || packet.cmd === cmd) return packet;
  }
}

/** A device that has sent telemetry, and storage that has fallen behind since. */
async function held(qos: 1 | 2 = 1) {
  const client = await testBroker.connectDevice('dev-1');
  await client.subscribe('devices/dev-1/commands/+/+');
  publish(client, 1, telemetry, qos);
  await next(client, qos === 1 ? 'puback' : 'pubrec');
  testBroker.pressure(true);
  return client;
}

describe('while storage is behind', () => {
  it('a device that sends telemetry is not read, and everything it sent is stored in order when storage has caught up', async () => {
    await start({ policies });
    const client = await held();
    const ids = [2, 3, 4, 5];
    for (const id of ids) publish(client, id, id === 4 ? 'devices/dev-1/events/door' : telemetry);
    const other = await testBroker.connectDevice('dev-2');
    publish(other, 1, 'devices/dev-2/events/door');
    await next(other, 'puback'); // who has sent none is read
    expect([stored(), testBroker.broker.counters().sessions_not_read]).toEqual([['1'], 1]);
    testBroker.pressure(false);
    for (const id of ids) expect(await next(client, 'puback')).toMatchObject({ messageId: id });
    expect([stored(), testBroker.broker.counters().sessions_not_read]).toEqual([['1', '2', '3', '5'], 0]);
  });

  it('the first telemetry of a device is the last that is read of it, of QoS 1 and of QoS 2', async () => {
    for (const qos of [1, 2] as const) {
      await start({ policies });
      testBroker.pressure(true);
      const client = await testBroker.connectDevice('dev-1');
      for (const id of [1, 2, 3]) publish(client, id, telemetry, qos);
      while (testBroker.broker.counters().sessions_not_read === 0)
        await new Promise((resolve) => setImmediate(resolve));
      await (await testBroker.connectDevice('dev-2')).settled();
      expect(stored().length).toBeLessThanOrEqual(1);
      testBroker.pressure(false);
      for (const messageId of [1, 2, 3]) {
        expect(await next(client, qos === 1 ? 'puback' : 'pubrec')).toMatchObject({ messageId });
      }
      expect(stored()).toEqual(['1', '2', '3']);
      await testBroker.close();
    }
  });

  it('commands reach a paused device, and a revocation ends its session', async () => {
    await start({ policies });
    const client = await held();
    const operator = await testBroker.connectService('operator');
    publish(operator, 7, 'devices/dev-1/commands/reboot/r-1');
    expect(await next(client, 'publish')).toMatchObject({ topic: 'devices/dev-1/commands/reboot/r-1' });
    testBroker.revokeInRegistry(device('dev-1'));
    expect(await testBroker.broker.disconnect(device('dev-1'), 'revoked')).toMatchObject({ sessionsClosed: 1 });
    await client.closed;
    expect(testBroker.broker.counters().sessions_not_read).toBe(0);
  });

  it('keep-alive does not apply to a paused device, and applies again afterwards', async () => {
    await start({ policies, limits: { keepalive: 30 } });
    const client = await held();
    for (const id of ['dev-2', 'dev-3']) await (await testBroker.connectDevice(id)).closed; // each after 45 ms of silence
    expect(testBroker.broker.sessions().map(({ clientId }) => clientId)).toEqual(['dev-1']);
    testBroker.pressure(false);
    await client.closed;
    expect(await testBroker.event('disconnected', ({ clientId }) => clientId === 'dev-1')).toMatchObject({
      reason: 'keepalive_timeout',
    });
  });

  it('a log line reports the pause', async () => {
    const lines: { msg: string; devices: number }[] = [];
    await start({ policies, log: pino({ level: 'info' }, { write: (line) => lines.push(JSON.parse(line)) }) });
    await held();
    testBroker.pressure(true);
    testBroker.pressure(false);
    // Each node reports its own devices.
    const sums = new Map<string, number>();
    for (const { msg, devices } of lines) sums.set(msg, (sums.get(msg) ?? 0) + devices);
    expect([...sums]).toEqual([
      ['reading from devices that send telemetry is paused', 1],
      ['reading from devices that send telemetry is resumed', 1],
    ]);
    expect(lines).toHaveLength(2 * LOGS_OF_ONE_BROKER);
  });
});

describe('a disk that is full', () => {
  it('stops acknowledgements until it has room, and commands continue', async () => {
    const MIB = 1_048_576;
    let free = 300 * MIB;
    const journal = await openTelemetry({
      directory: temporaryDirectory(),
      now: Date.now,
      log: pino({ level: 'silent' }),
      limits: { retryEvery: 5 },
      diskFloor: 256 * MIB,
      disk: { checkEvery: 5, spaceOf: async () => ({ free, size: 100_000 * MIB }) },
    });
    onTestFinished(() => journal.close());
    await start({ policies, telemetry: journal });
    const client = await testBroker.connectDevice('dev-1');
    await client.subscribe('devices/dev-1/commands/+/+');
    publish(client, 1);
    expect(await next(client, 'puback')).toMatchObject({ messageId: 1 });
    free = 0;
    while (!journal.counters().isDiskLow) await new Promise((resolve) => setImmediate(resolve));
    for (let id = 2; id <= 50; id += 1) publish(client, id);
    while (testBroker.broker.counters().sessions_not_read === 0) await new Promise((resolve) => setImmediate(resolve));
    for (let id = 51; id <= 100; id += 1) publish(client, id);
    const operator = await testBroker.connectService('operator');
    publish(operator, 7, 'devices/dev-1/commands/reboot/r-1');
    // Whatever came before the command is no PUBACK.
    expect(await client.next()).toMatchObject({ cmd: 'publish', topic: 'devices/dev-1/commands/reboot/r-1' });
    expect(journal.counters().stored).toBe(1);
    free = 300 * MIB;
    for (let id = 2; id <= 100; id += 1) expect(await next(client, 'puback')).toMatchObject({ messageId: id });
    expect(journal.counters()).toMatchObject({ stored: 100, refused: 0, isUnderPressure: false });
    const found = await journal.query({ device: 'dev-1' as never, limit: 1_000 });
    expect(found.map(({ payload }) => Number(`${payload}`))).toEqual(Array.from({ length: 100 }, (_, at) => at + 1));
  });
});
