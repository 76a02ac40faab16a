/**
 * A broker over real mutual TLS that does what a test says: stock aedes behind node:tls, with the client certificate's
 * common name as identity. For tests of the device's side only; it promises nothing.
 */

import { EventEmitter, once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { Aedes, type AedesPublishPacket, type Client } from 'aedes';
import { keylessLength } from '../../contract/topics.ts';
import type { ScriptedAuthority } from './scripted-authority.ts';

export interface ReceivedMessage {
  readonly from: string;
  /** Without its key, as a server of Rollcall passes it on. */
  readonly topic: string;
  readonly key: string | undefined;
  readonly payload: string;
  readonly qos: number;
  readonly dup: boolean;
  /** Zero for QoS 0. */
  readonly packetId: number;
}

export interface BrokerScript {
  /** CONNACK return code for a device; 0 accepts. */
  readonly connack?: (deviceId: string) => 0 | 2 | 3 | 5;
  /** False closes the connection before the broker reads from it. */
  readonly admits?: (deviceId: string) => boolean;
  /** False swallows a publish: the connection is closed without PUBACK. */
  readonly accepts?: (message: ReceivedMessage) => boolean;
}

export interface ScriptedBroker {
  readonly mqttUrl: string;
  readonly messages: readonly ReceivedMessage[];
  /** Those that the script did not accept. */
  readonly refused: readonly ReceivedMessage[];
  /** Devices that sent DISCONNECT. */
  readonly farewells: readonly string[];
  /** Emits `message`, `connected`, `subscribed`, `gone` and `turned away`, each with the device id (and the message). */
  readonly events: EventEmitter;
  /** Devices connected now, by id. */
  readonly clients: ReadonlyMap<string, Client>;
  /** Serial numbers of the client certificates that came, in order. */
  readonly serials: readonly string[];
  /** Whether the last client sent certificates of authorities along with its own. */
  sawAuthorities(): boolean;
  publish(topic: string, payload: string): Promise<void>;
  /** Breaks a device's connection without a word. */
  cut(deviceId: string): void;
  close(): Promise<void>;
}

export async function startScriptedBroker(
  authority: ScriptedAuthority,
  script: BrokerScript = {},
  port = 0,
): Promise<ScriptedBroker> {
  const events = new EventEmitter();
  const messages: ReceivedMessage[] = [];
  const refused: ReceivedMessage[] = [];
  const farewells: string[] = [];
  const clients = new Map<string, Client>();
  const serials: string[] = [];
  let sawAuthorities = false;
  const sockets = new Map<TLSSocket, string>();
  const owners = new WeakMap<object, string>();
  const aedes = await Aedes.createBroker();

  aedes.preConnect = (client, _packet, done) => {
    const code = script.connack?.(owners.get(client.conn) ?? '') ?? 0;
    if (code !== 0) client.conn.write(Buffer.from([0x20, 2, 0, code]));
    done(null, code === 0);
  };
  aedes.authorizePublish = (client, packet, done) => {
    const message = received(client, packet as AedesPublishPacket);
    if (script.accepts?.(message) === false) {
      refused.push(message);
      done(new Error('not accepted'));
      return;
    }
    messages.push(message);
    events.emit('message', message.from, message);
    done(null);
  };
  aedes.on('clientReady', (client) => {
    clients.set(client.id, client);
    events.emit('connected', client.id);
  });
  aedes.on('subscribe', (_subscriptions, client) => events.emit('subscribed', client.id));
  aedes.on('clientDisconnect', (client) => {
    if (clients.get(client.id) === client) clients.delete(client.id);
    events.emit('gone', client.id);
  });

  const server = createServer(
    {
      key: authority.server.keyPem,
      cert: authority.server.certificatePem,
      ca: authority.rootPem + authority.issuingPem, // devices send their own certificate alone
      requestCert: true,
      rejectUnauthorized: true,
      noDelay: true,
    },
    (socket) => {
      const peer = socket.getPeerCertificate();
      const name = peer.subject.CN as string;
      serials.push(peer.serialNumber);
      sawAuthorities = socket.getPeerX509Certificate()?.issuerCertificate !== undefined;
      sockets.set(socket, name);
      socket.on('error', () => {});
      socket.once('close', () => sockets.delete(socket));
      if (script.admits?.(name) === false) {
        socket.once('close', () => events.emit('turned away', name));
        socket.destroy();
        return;
      }
      owners.set(socket, name);
      socket.on('data', (bytes) => {
        if (bytes.at(-2) === 0xe0 && bytes.at(-1) === 0) farewells.push(name);
      });
      aedes.handle(socket);
    },
  );
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));

  return {
    mqttUrl: `mqtts://localhost:${(server.address() as AddressInfo).port}`,
    messages,
    refused,
    farewells,
    events,
    clients,
    serials,
    sawAuthorities: () => sawAuthorities,
    publish: (topic, payload) =>
      new Promise((resolve, reject) => {
        const packet = { cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false } as const;
        aedes.publish(packet, (error) => (error == null ? resolve() : reject(error)));
      }),
    cut: (deviceId) => {
      for (const [socket, name] of sockets) if (name === deviceId) socket.destroy();
    },
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets.keys()) socket.destroy();
      await new Promise<void>((resolve) => aedes.close(() => resolve()));
      await closed;
    },
  };
}

/** The next message that `matches`, counting those that came already. */
export async function nextMessage(
  broker: ScriptedBroker,
  matches: (message: ReceivedMessage) => boolean,
): Promise<ReceivedMessage> {
  for (;;) {
    const found = broker.messages.find(matches);
    if (found !== undefined) return found;
    await once(broker.events, 'message');
  }
}

function received(client: Client | null, packet: AedesPublishPacket): ReceivedMessage {
  const { topic } = packet;
  const end = keylessLength(topic);
  return {
    from: client?.id ?? '',
    topic: topic.slice(0, end),
    key: end === topic.length ? undefined : topic.slice(end + 1),
    payload: packet.payload.toString(),
    qos: packet.qos,
    dup: packet.dup,
    packetId: (packet as { readonly messageId?: number }).messageId ?? 0,
  };
}
