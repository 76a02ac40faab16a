/**
 * What MQTT 5 sessions, wills and queued messages of bin/rollcall survive: a restart after SIGTERM, and after SIGKILL. MQTT.js is the
 * client. libfaketime moves the clock of the second run forward where something has to expire.
 */

import { execFileSync } from 'node:child_process';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import type { IClientOptions, IConnackPacket, IPublishPacket, MqttClient } from 'mqtt';
import { describe, expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../cli/free-port.ts';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { type Credentials, closed, startMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, serve } from '../fixtures/program.ts';
import { testsWithClients } from '../fixtures/real-client.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const HOUR_S = 3_600;
const DAY_S = 24 * HOUR_S;
const SHORT_S = 120;
/** Less than a new server certificate is backdated: clients keep their clock. */
const LATER_S = 300;
/** Ends in the time that is skipped, and not before a device has come back on a busy machine. */
const DELAY_S = 200;

type Identity = Credentials & { readonly deviceId: string };

/** One data directory, served again and again on the same port. */
class Restarted {
  readonly #data = temporaryDirectory();
  #port = 0;
  #server: RunningServer | undefined;
  #operator: ConsoleClient | undefined;

  async start(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    this.#port ||= await freePort();
    this.#server = await serve(this.#data, ['--mqtt-port', String(this.#port)], { environment });
    this.#operator = openConsoleClient({ socketPath: this.#server.ready.socket });
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    await this.#operator?.close();
    await this.#server?.end(signal);
  }

  async device(deviceId: string): Promise<Identity> {
    const { text } = await (this.#operator as ConsoleClient).createToken({});
    return enrollOnce(memoryIdentityStore(), { token: text, deviceId });
  }

  service(name: string): Promise<Identity> {
    const { mqttUrl } = (this.#server as RunningServer).ready;
    return issueService({ operator: this.#operator as ConsoleClient, mqttUrl }, name);
  }
}

async function restarted(): Promise<Restarted> {
  const server = new Restarted();
  await server.start();
  onTestFinished(() => server.end('SIGKILL'));
  return server;
}

/** libfaketime for this one process; monotonic clocks are unchanged, and signals reach it. */
function laterBy(seconds: number): Readonly<Record<string, string>> {
  const library = execFileSync('faketime', ['-f', '+0', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' }).trim();
  return { LD_PRELOAD: library, FAKETIME: `+${seconds}`, DONT_FAKE_MONOTONIC: '1' };
}

interface Connected {
  readonly client: MqttClient;
  readonly present: boolean;
  /** The next message, also one that came with CONNACK. */
  message(): Promise<IPublishPacket>;
}

async function connect(identity: Identity, options: IClientOptions = {}): Promise<Connected> {
  const client = startMqtt(identity, { protocolVersion: 5, ...options });
  const received: IPublishPacket[] = [];
  let arrived = () => {};
  client.on('message', (_topic, _payload, packet) => {
    received.push(packet);
    arrived();
  });
  const connack = await new Promise<IConnackPacket>((resolve, reject) => {
    client.once('connect', resolve);
    client.once('error', reject);
    client.once('close', () => reject(new Error('the connection was closed before CONNACK')));
  });
  const message = async () => {
    while (received.length === 0) {
      await new Promise<void>((resolve) => {
        arrived = resolve;
      });
    }
    return received.shift() as IPublishPacket;
  };
  return { client, present: connack.sessionPresent, message };
}

const persistent = (sessionExpiryInterval: number): IClientOptions => ({
  clean: false,
  properties: { sessionExpiryInterval },
});

const textOf = ({ payload }: IPublishPacket) => String(payload);

/** A test starts the program two or three times, on a machine that may have other work. */
const TIMEOUT_MS = 180_000;

const { it: itWithClock } = testsWithClients('mqtt5-restart.test.ts', ['faketime']);

describe.each(['SIGTERM', 'SIGKILL'] as const)('after %s and a restart', { timeout: TIMEOUT_MS }, (signal) => {
  it('a session with an expiry is resumed with its messages and their properties, and one without is gone', async () => {
    const server = await restarted();
    const [lasting, brief, operations] = [
      await server.device('lasting'),
      await server.device('brief'),
      await server.service('operations'),
    ];
    for (const [identity, options] of [
      [lasting, persistent(HOUR_S)],
      [brief, { clean: true }],
    ] as const) {
      const { client } = await connect(identity, options);
      await client.subscribeAsync(`devices/${identity.deviceId}/commands/+/+`, {
        qos: 1,
        properties: { subscriptionIdentifier: 7 },
      });
      if (identity === lasting) await client.endAsync(true);
    }
    const sender = await connect(operations);
    await sender.client.publishAsync('devices/lasting/commands/reboot/r1', 'now', {
      qos: 1,
      properties: {
        contentType: 'text/plain',
        responseTopic: 'devices/lasting/responses/r1',
        correlationData: Buffer.from('r1'),
        messageExpiryInterval: HOUR_S,
        userProperties: { site: 'north' },
      },
    });
    await server.end(signal);
    await server.start();

    const back = await connect(lasting, persistent(HOUR_S));
    expect(back.present).toBe(true);
    const message = await back.message();
    expect(textOf(message)).toBe('now');
    expect(message.properties).toMatchObject({
      contentType: 'text/plain',
      responseTopic: 'devices/lasting/responses/r1',
      correlationData: Buffer.from('r1'),
      userProperties: { site: 'north' },
      subscriptionIdentifier: 7,
    });
    const left = message.properties?.messageExpiryInterval as number;
    expect(left).toBeGreaterThan(HOUR_S - 120);
    expect(left).toBeLessThanOrEqual(HOUR_S);
    expect((await connect(brief, persistent(HOUR_S))).present).toBe(false);
  });

  itWithClock('a will with a delay is published unless its device has resumed its session', async () => {
    const server = await restarted();
    const [returns, lost, watcher] = [
      await server.device('returns'),
      await server.device('lost'),
      await server.service('watcher'),
    ];
    const will = (id: string, willDelayInterval: number): IClientOptions => ({
      ...persistent(HOUR_S),
      will: {
        topic: `devices/${id}/events/gone`,
        payload: Buffer.from('power'),
        qos: 1,
        retain: false,
        properties: { willDelayInterval, contentType: 'text/plain' },
      },
    });
    const listening = await connect(watcher, persistent(HOUR_S));
    await listening.client.subscribeAsync('devices/+/events/+', { qos: 1 });
    await listening.client.endAsync();
    for (const [identity, delay] of [
      [returns, DELAY_S],
      [lost, DELAY_S + 1],
    ] as const) {
      const { client } = await connect(identity, will(identity.deviceId, delay));
      client.stream.destroy(); // without DISCONNECT
      await closed(client);
    }
    await server.end(signal);
    await server.start();
    await connect(returns, persistent(HOUR_S));
    await server.end('SIGTERM');
    await server.start(laterBy(LATER_S));
    const watching = await connect(watcher, persistent(HOUR_S));
    // The will of the other device would have come before.
    const message = await watching.message();
    expect(message).toMatchObject({ topic: 'devices/lost/events/gone', properties: { contentType: 'text/plain' } });
    expect(textOf(message)).toBe('power');
  });

  itWithClock('sessions and messages whose time is over are gone, and others are not', async () => {
    const server = await restarted();
    const [short, long, operations] = [
      await server.device('short'),
      await server.device('long'),
      await server.service('operations'),
    ];
    for (const [identity, expiry] of [
      [short, SHORT_S],
      [long, DAY_S],
    ] as const) {
      const { client } = await connect(identity, persistent(expiry));
      await client.subscribeAsync(`devices/${identity.deviceId}/commands/+/+`, { qos: 1 });
      await client.endAsync();
    }
    const { client: sender } = await connect(operations);
    for (const [text, messageExpiryInterval] of [
      ['two minutes', SHORT_S],
      ['a day', DAY_S],
    ] as const) {
      await sender.publishAsync(`devices/long/commands/note/${messageExpiryInterval}`, text, {
        qos: 1,
        properties: { messageExpiryInterval },
      });
    }
    await server.end(signal);
    await server.start(laterBy(LATER_S));

    expect((await connect(short, persistent(SHORT_S))).present).toBe(false);
    const back = await connect(long, persistent(DAY_S));
    expect(back.present).toBe(true);
    const message = await back.message();
    expect(textOf(message)).toBe('a day');
    const left = message.properties?.messageExpiryInterval as number;
    expect(left).toBeGreaterThan(DAY_S - LATER_S - 120);
    expect(left).toBeLessThanOrEqual(DAY_S - LATER_S);
  });
});
