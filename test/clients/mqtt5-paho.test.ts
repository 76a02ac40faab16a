/** paho-mqtt, the Python client, with MQTT 5 as device and as service (`paho_mqtt5.py`). */

import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { DeviceId } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { clientCommand } from '../fixtures/client-programs.ts';
import { writeCredentials } from '../fixtures/credentials-on-disk.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import type { Credentials } from '../fixtures/mqtt.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { issueService } from '../fixtures/service.ts';
import { startProcess } from '../fixtures/started-processes.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const SCRIPT = fileURLToPath(new URL('paho_mqtt5.py', import.meta.url));

type Event = { readonly what: string } & Readonly<Record<string, unknown>>;

interface Settings {
  readonly clean?: boolean;
  readonly manual?: boolean;
  readonly keepalive?: number;
  readonly properties?: object;
  readonly will?: object;
}

/** One client program, driven by commands. */
class Paho {
  readonly events: Event[] = [];
  readonly #child;
  #taken = 0;
  readonly #lines;

  constructor(input: object, directory: string) {
    const [program = '', ...args] = clientCommand('paho');
    this.#child = startProcess(program, [...args, SCRIPT], {
      cwd: directory,
      env: { PATH: process.env.PATH, HOME: directory },
    });
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#lines.on('line', (line) => this.events.push(JSON.parse(line) as Event));
    this.#child.stdin.on('error', () => {}); // it may have ended
    this.#child.stdin.write(`${JSON.stringify(input)}\n`);
  }

  do(command: string, options: object = {}): void {
    this.#child.stdin.write(`${JSON.stringify({ do: command, ...options })}\n`);
  }

  /** The next event of a kind; takes the events before it. */
  async next(what: string): Promise<Event> {
    for (;;) {
      const event = this.events[this.#taken];
      if (event === undefined) {
        await once(this.#lines, 'line');
        continue;
      }
      this.#taken += 1;
      if (event.what === what) return event;
    }
  }

  /** A power cut. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

describeWithClients('paho-mqtt with MQTT 5', ['paho'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  const start = (
    identity: Credentials & { deviceId: string },
    settings: Settings = {},
    id = identity.deviceId,
  ): Paho => {
    const directory = temporaryDirectory();
    const { port } = new URL(fleet.mqttUrl);
    const files = writeCredentials(directory, identity);
    return new Paho({ host: 'localhost', port: Number(port), id, ...files, ...settings }, directory);
  };

  async function device(id: string, settings?: Settings): Promise<Paho> {
    const client = start(await fleet.enroll(id), settings);
    expect(await client.next('connected')).toMatchObject({ code: 0 });
    return client;
  }

  async function service(name: string, settings?: Settings): Promise<Paho> {
    const client = start(await issueService(fleet, name), settings);
    expect(await client.next('connected')).toMatchObject({ code: 0 });
    return client;
  }

  async function subscribe(client: Paho, filter: string, options: object = {}): Promise<void> {
    client.do('subscribe', { filter, ...options });
    expect(await client.next('subscribed')).toMatchObject({ granted: [1] });
  }

  it('receives the limits of the server in CONNACK', async () => {
    const client = start(await fleet.enroll('p5-connack'));
    expect(await client.next('connected')).toMatchObject({
      present: false,
      properties: { TopicAliasMaximum: 16, ReceiveMaximum: 100, MaximumPacketSize: 262_144 },
    });
  });

  it('gets the device id as assigned client id when it names none', async () => {
    const client = start(await fleet.enroll('p5-nameless'), {}, '');
    expect(await client.next('connected')).toMatchObject({ properties: { AssignedClientIdentifier: 'p5-nameless' } });
  });

  it('carries user properties in their order, with names that occur several times', async () => {
    const reader = await service('p5-reader');
    await subscribe(reader, 'devices/+/telemetry/+', { properties: { SubscriptionIdentifier: 9 } });
    const sender = await device('p5-order');
    const pairs = [
      ['b', '1'],
      ['a', '2'],
      ['b', '3'],
      ['ä', ''],
      ['a', '2'],
    ];
    const properties = {
      PayloadFormatIndicator: 1,
      ContentType: 'text/plain',
      ResponseTopic: 'devices/p5-order/responses/r1',
      CorrelationData: 'c1',
      UserProperty: pairs,
    };
    sender.do('publish', { topic: 'devices/p5-order/telemetry/level', payload: 'warm', properties });
    const received = await reader.next('received');
    expect(received).toMatchObject({
      topic: 'devices/p5-order/telemetry/level',
      properties: { ...properties, SubscriptionIdentifier: [9] },
    });
    const [stored] = await fleet.operator.queryTelemetry({ device: 'p5-order' as DeviceId });
    expect(stored).toMatchObject({
      userProperties: pairs.map(([name, value]) => ({ name, value })),
      contentType: 'text/plain',
      payloadFormatIndicator: 1,
    });
  });

  it('receives one message at a time when that is its Receive Maximum', async () => {
    const slow = await service('p5-slow', { manual: true, properties: { ReceiveMaximum: 1 } });
    await subscribe(slow, 'devices/p5-fast/events/+');
    const fast = await device('p5-fast');
    for (const payload of ['1', '2', '3']) fast.do('publish', { topic: 'devices/p5-fast/events/tick', payload });
    for (let n = 1; n <= 3; n += 1) await fast.next('published');
    for (const payload of ['1', '2', '3']) {
      expect(await slow.next('received')).toMatchObject({ payload });
      expect(slow.events.filter(({ what }) => what === 'received')).toHaveLength(Number(payload));
      slow.do('acknowledge');
    }
  });

  it('is not sent its own messages with No Local, and no retained ones with Retain Handling 2', async () => {
    const operator = await service('p5-operator');
    const other = await service('p5-other');
    const filter = 'devices/+/twin/desired';
    await fleet.operator.setPolicy({
      ...{ kind: 'service', name: '*' },
      connect: ['*'],
      publish: ['devices/+/twin/+'],
      subscribe: ['devices/+/twin/+', 'devices/+/events/+', 'devices/+/telemetry/+'],
      receive: ['devices/+/twin/+', 'devices/+/events/+', 'devices/+/telemetry/+'],
      retain: ['devices/+/twin/+'],
    });
    const topic = 'devices/p5-twin/twin/desired';
    operator.do('publish', { topic, payload: 'old', retain: true });
    await operator.next('published');
    await subscribe(operator, filter, { noLocal: true, retainHandling: 2, retainAsPublished: true });
    await subscribe(other, filter, { retainHandling: 0, retainAsPublished: true });
    expect(await other.next('received')).toMatchObject({ payload: 'old', retain: true });
    operator.do('publish', { topic, payload: 'own', retain: true });
    await operator.next('published');
    expect(await other.next('received')).toMatchObject({ payload: 'own', retain: true });
    other.do('publish', { topic, payload: 'other', retain: false });
    expect(await operator.next('received')).toMatchObject({ payload: 'other', retain: false });
  });

  it('is told the reason when its device is revoked, and when another connection takes over', async () => {
    const lost = await device('p5-lost');
    await fleet.operator.revokeDevices({ ids: ['p5-lost' as DeviceId], reason: 'keyCompromise' });
    expect(await lost.next('disconnected')).toMatchObject({ code: 0x98, reason: expect.stringContaining('revoked') });

    const identity = await fleet.enroll('p5-twice');
    const first = start(identity);
    await first.next('connected');
    const second = start(identity);
    await second.next('connected');
    expect(await first.next('disconnected')).toMatchObject({ code: 0x8e });
  });

  it('resumes its session within its expiry, with the messages of the time between', async () => {
    const identity = await fleet.enroll('p5-resumes');
    const persistent = { clean: false, properties: { SessionExpiryInterval: 3_600 } };
    const before = start(identity, persistent);
    expect(await before.next('connected')).toMatchObject({ present: false });
    await subscribe(before, 'devices/p5-resumes/commands/+/+');
    before.kill();
    const operator = await service('p5-commander');
    await fleet.operator.setPolicy({
      ...{ kind: 'service', name: 'p5-commander' },
      connect: ['*'],
      publish: ['devices/+/commands/+/+'],
    } as Parameters<typeof fleet.operator.setPolicy>[0]);
    operator.do('publish', {
      topic: 'devices/p5-resumes/commands/reboot/r1',
      payload: 'now',
      properties: { MessageExpiryInterval: 100, UserProperty: [['why', 'test']] },
    });
    await operator.next('published');
    const after = start(identity, persistent);
    expect(await after.next('connected')).toMatchObject({ present: true });
    const received = await after.next('received');
    expect(received).toMatchObject({ payload: 'now', properties: { UserProperty: [['why', 'test']] } });
    const { MessageExpiryInterval } = received.properties as { MessageExpiryInterval: number };
    expect(MessageExpiryInterval).toBeGreaterThan(80);
    expect(MessageExpiryInterval).toBeLessThanOrEqual(100);
  });
});
