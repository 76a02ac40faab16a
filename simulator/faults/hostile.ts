/**
 * Attacks by clients that are no device of the fleet, or no longer one. The server must refuse each of them; what it accepts
 * is counted as wrongly allowed. Use it only against your own servers.
 */

import { randomBytes, X509Certificate } from 'node:crypto';
import { connect } from 'node:net';
import { encodeConnect, encodePublish, encodeSubscribe, type ReceivedPacket } from '@rollcall/device-sdk/mqtt-codec';
import {
  addressOptions,
  commandFilter,
  type DeviceId,
  formatBootstrapToken,
  parseBootstrapToken,
  TOKEN_SECRET_BYTES,
  telemetryTopic,
} from '@rollcall/protocol';
import { brokerPackets } from '../devices/broker-packets.ts';
import type { Counters } from '../devices/counters.ts';
import { type EstClient, newKey } from '../devices/est-client.ts';
import { FIRST_ERROR } from '../devices/reason-codes.ts';
import type { HostileAction } from '../devices/shard-messages.ts';
import type { TimerWheel } from '../devices/timer-wheel.ts';
import type { TlsConnector, TlsIdentity, TlsTarget } from '../devices/tls-connections.ts';

export interface HostileContext {
  readonly counters: Counters;
  readonly connector: TlsConnector;
  readonly mqtt: TlsTarget;
  readonly estClient: EstClient | undefined;
  readonly token: string | undefined;
  readonly group: string;
  readonly timers: TimerWheel;
  /** End of the run, milliseconds since 1970. */
  readonly until: number;
}

export interface Victim {
  readonly id: string;
  readonly identity: TlsIdentity;
}

/** How long an act may take before it counts as neither allowed nor refused, but over. */
const ACT_MS = 4_000;
/** Longer than any handshake needs, shorter than a test. */
const SLOW_MS = 3_000;
const KEEPALIVE_S = 60;
/** Certificates end at whole seconds. */
const OUTLIVED_MS = 1_000;

export async function tryHostileAction(
  act: HostileAction,
  victims: readonly Victim[],
  count: number,
  context: HostileContext,
): Promise<void> {
  switch (act) {
    case 'clone':
      await Promise.all(victims.map((victim) => comeAs(victim, victim.id, context)));
      return;
    case 'steal':
      await Promise.all(victims.map((victim) => comeAsAnother(victim, context)));
      return;
    case 'outlive':
      await Promise.all(victims.map((victim) => outlive(victim, context)));
      return;
    case 'malformed':
      await times(count, (index) => sendGarbage(victims[index % victims.length], index, context));
      return;
    case 'guess':
      await times(count, () => guessToken(context));
      return;
    case 'probe':
      await times(Math.min(count, victims.length), (index) => probe(victims[index] as Victim, victims, context));
      return;
    case 'slow-handshake':
      await times(count, () => holdHandshake(context));
  }
}

async function times(count: number, act: (index: number) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, index) => act(index)));
}

type Outcome = 'accepted' | 'refused' | 'silence';

interface Session {
  readonly outcome: Promise<Outcome>;
  write(packet: Buffer): void;
  end(): void;
}

/** Opens a connection and sends CONNECT; packets after CONNACK go to `hear`. */
function openSession(
  victim: Victim | undefined,
  clientId: string,
  context: HostileContext,
  hear: (packet: ReceivedPacket) => void = () => {},
): Session {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const reader = brokerPackets(4);
  const socket = context.connector.open(
    { target: context.mqtt, identity: victim?.identity },
    {
      secure: () => socket.write(encodeConnect({ version: 4, clientId, cleanStart: true, keepAlive: KEEPALIVE_S })),
      data: (bytes) => {
        try {
          reader.read(bytes, (packet) => {
            if (packet.kind === 'connack') resolve(packet.reasonCode === 0 ? 'accepted' : 'refused');
            else hear(packet);
          });
        } catch {
          socket.destroy();
        }
      },
      closed: () => resolve('refused'),
    },
  );
  const timer = setTimeout(() => resolve('silence'), ACT_MS);
  return {
    outcome: promise.finally(() => clearTimeout(timer)),
    write: (packet) => socket.write(packet),
    end: () => socket.destroy(),
  };
}

/** The server can't tell a copy from its original before the device is revoked; the copy stays connected until then. */
async function comeAs(victim: Victim, clientId: string, context: HostileContext): Promise<void> {
  context.counters.count('hostile');
  const session = openSession(victim, clientId, context);
  await session.outcome;
  context.timers.at(context.timers.now() + ACT_MS, () => session.end());
}

async function comeAsAnother(victim: Victim, context: HostileContext): Promise<void> {
  context.counters.count('hostile');
  const session = openSession(victim, `${victim.id}x`, context);
  judge(await session.outcome, context.counters);
  session.end();
}

/** Waits until the certificate has expired, and connects with it. */
async function outlive(victim: Victim, context: HostileContext): Promise<void> {
  const end = Date.parse(new X509Certificate(victim.identity.certificatePem).validTo);
  if (end + OUTLIVED_MS > context.until) {
    throw new Error(
      'expected certificates that end within the run: server.settings.certificates.device says how long they live',
    );
  }
  await new Promise<void>((resolve) => context.timers.at(end + OUTLIVED_MS, resolve));
  context.counters.count('hostile');
  const session = openSession(victim, victim.id, context);
  judge(await session.outcome, context.counters);
  session.end();
}

function judge(outcome: Outcome, counters: Counters): void {
  if (outcome === 'accepted') counters.count('wronglyAllowed');
  if (outcome === 'silence') counters.error('hostile_act_unanswered');
}

/** Each breaks another rule of MQTT 3.1.1 or 5 whose breach must close the connection. */
const GARBAGE: readonly Buffer[] = [
  Buffer.from([0xf0, 0]), // a reserved type [MQTT-2.2.2-1]
  Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x7f]), // a length of five bytes
  Buffer.from([0x36, 5, 0, 1, 0x61, 0, 1]), // QoS 3 [MQTT-3.3.1-4]
  Buffer.from([0x80, 5, 0, 1, 0, 0, 0]), // SUBSCRIBE with wrong flags [MQTT-3.8.1-1]
  Buffer.from([0x10, 2, 0, 0]), // a second CONNECT [MQTT-3.1.0-2]
  Buffer.from([0x32, 4, 0, 1, 0x23, 0]), // a topic with a wildcard, cut short
  Buffer.from([0x10, 20, 0, 4, 0x4d, 0x51, 0x54, 0x54, 5, 2, 0, 9, 6, 0x21, 0, 1, 0x21, 0, 1, 0, 1, 0x61]), // MQTT 5: Receive Maximum twice
  Buffer.from([0xf0, 2, 0x18, 0]), // AUTH before CONNECT
];

async function sendGarbage(victim: Victim | undefined, index: number, context: HostileContext): Promise<void> {
  if (victim === undefined) return;
  context.counters.count('hostile');
  const { promise, resolve } = Promise.withResolvers<'closed' | 'open'>();
  const socket = context.connector.open(
    { target: context.mqtt, identity: victim.identity },
    {
      secure: () => socket.write(GARBAGE[index % GARBAGE.length] as Buffer),
      data: () => {},
      closed: () => resolve('closed'),
    },
  );
  const timer = setTimeout(() => resolve('open'), ACT_MS);
  if ((await promise) === 'open') context.counters.count('wronglyAllowed');
  clearTimeout(timer);
  socket.destroy();
}

/** A token with the right server and the right root, and a random secret. */
async function guessToken(context: HostileContext): Promise<void> {
  const real = context.token === undefined ? undefined : parseBootstrapToken(context.token);
  if (real === undefined || context.estClient === undefined) return;
  context.counters.count('hostile');
  const guess = { ...real, secret: randomBytes(TOKEN_SECRET_BYTES).toString('base64url') };
  try {
    const answer = await context.estClient.enroll('guesser', formatBootstrapToken(guess), newKey());
    if (!('refused' in answer)) context.counters.count('wronglyAllowed');
    else context.counters.error(answer.refused);
  } catch {
    context.counters.error('guess_unanswered');
  }
}

/** A real device that subscribes and publishes to topics of others. The service sees whether its message was delivered. */
async function probe(victim: Victim, all: readonly Victim[], context: HostileContext): Promise<void> {
  const other = all.find((candidate) => candidate.id !== victim.id)?.id ?? `${victim.id}-other`;
  const filters = ['#', '+/+/telemetry/+', '$fleet/#', commandFilter(other as DeviceId)];
  context.counters.count('hostile', filters.length + 1);
  const { promise, resolve } = Promise.withResolvers<void>();
  const session = openSession(victim, victim.id, context, (packet) => {
    if (packet.kind !== 'suback') return;
    for (const code of packet.reasonCodes) if (code < FIRST_ERROR) context.counters.count('wronglyAllowed');
    resolve();
  });
  if ((await session.outcome) === 'accepted') {
    const subscriptions = filters.map((filter) => ({ filter, qos: 0 }) as const);
    session.write(encodeSubscribe(4, 1, subscriptions));
    const topic = telemetryTopic(other as DeviceId, 'probe');
    const timer = setTimeout(resolve, ACT_MS);
    await promise;
    clearTimeout(timer);
    const payload = `{"device":"${victim.id}","seq":1}`;
    session.write(encodePublish(4, { topic, payload, qos: 0, packetId: 0 }));
    await new Promise((done) => setTimeout(done, 500)); // for the broker to read it before the line ends
  }
  session.end();
}

/** Opens a TLS handshake and does not finish it. */
async function holdHandshake(context: HostileContext): Promise<void> {
  context.counters.count('hostile');
  const { host, port } = context.mqtt;
  const socket = connect({ host, port, ...addressOptions(host) });
  socket.on('error', () => {});
  socket.once('connect', () => socket.write(Buffer.from([0x16, 3, 1, 2, 0, 1]))); // the head of a ClientHello
  await new Promise((resolve) => {
    socket.once('close', resolve);
    setTimeout(resolve, SLOW_MS);
  });
  socket.destroy();
}
