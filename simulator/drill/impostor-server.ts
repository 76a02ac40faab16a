/**
 * EST and MQTT servers of an attacker who holds the key of an issuing CA: their certificate is signed by that CA, and they send
 * two trust bundles, the first with a forged root beside the CA, the second with the forged root alone. They show what becomes of a
 * device that reaches no other server. They listen on loopback only.
 */

import { once } from 'node:events';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { Device, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { TRUST_EVENTS } from '@rollcall/device-sdk/building-blocks';
import {
  encodeConnack,
  encodePublish,
  encodeSuback,
  PacketReader,
  type ReceivedPacket,
} from '@rollcall/device-sdk/mqtt-codec';
import { EST_PATHS, TRUST_BUNDLE_TOPIC } from '@rollcall/protocol';
import { waitUntil } from '../wait-until.ts';
import { type ForgedCertificates, forgeCertificates, type StolenCa } from './forged-certificates.ts';
import { parseCertificates } from './trusted-roots.ts';

export interface ImpostorOutcome {
  /** It connected to the impostor's broker. */
  readonly hasConnected: boolean;
  /** It trusts the forged root now, or no longer a root that it trusted before. */
  readonly isCaptured: boolean;
}

const PACKET_BYTES_MAX = 1024 * 1024;
const ANSWER_MS = 15_000;
/** Events in the log of the SDK after it has checked a bundle. */
const CHECKED: ReadonlySet<unknown> = new Set(Object.values(TRUST_EVENTS));

export class ImpostorServer {
  readonly #forged: ForgedCertificates;
  readonly #bundles: readonly string[];
  readonly #broker: Server;
  readonly #enroll: Server;
  readonly #sockets = new Set<TLSSocket>();
  /** Bundles that a device has acknowledged, by client id; 0 for one that has only connected. */
  readonly #heard = new Map<string, number>();

  static async open(stolen: StolenCa, now: number): Promise<ImpostorServer> {
    const thief = new ImpostorServer(forgeCertificates(stolen, now), stolen.certificatePem);
    await Promise.all([thief.#broker, thief.#enroll].map((server) => once(server.listen(0, '127.0.0.1'), 'listening')));
    return thief;
  }

  private constructor(forged: ForgedCertificates, issuingPem: string) {
    this.#forged = forged;
    this.#bundles = [forged.rootPem + issuingPem, forged.rootPem];
    const tls = { key: forged.server.keyPem, cert: forged.server.chainPem };
    this.#broker = createServer(tls, (socket) => this.#accept(socket));
    this.#enroll = createHttpsServer(tls, ({ url }, response) => {
      if (url === EST_PATHS.cacerts) {
        response.writeHead(200, { 'content-type': 'application/pkcs7-mime; smime-type=certs-only' });
        response.end(forged.caCertificates.toString('base64'));
      } else response.writeHead(404).end();
    });
    for (const server of [this.#broker, this.#enroll]) {
      server.on('secureConnection', (socket: TLSSocket) => {
        this.#sockets.add(socket);
        socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket));
      });
    }
  }

  /** What becomes of a device with this identity. The identity itself is not changed. */
  async connectDevice(identity: StoredIdentity, signal: AbortSignal): Promise<ImpostorOutcome> {
    const { deviceId, rootPem } = identity;
    const store = memoryIdentityStore();
    await store.commit({
      ...identity,
      enrollUrl: `https://localhost:${portOf(this.#enroll)}`,
      mqttUrl: `mqtts://localhost:${portOf(this.#broker)}`,
    });
    let hasChecked = false;
    const logged = (fields: { readonly event?: unknown }) => {
      hasChecked ||= CHECKED.has(fields.event);
    };
    this.#heard.delete(deviceId);
    const log = { debug: logged, info: logged, warn: logged };
    const device = await Device.open({
      store,
      clean: true,
      queue: 'memory',
      random: () => 0,
      renewal: 'manual',
      log,
      signal,
    });
    try {
      const isOver = () =>
        this.#heard.has(deviceId) ? this.#heard.get(deviceId) === this.#bundles.length : hasChecked;
      await waitUntil(isOver, { within: ANSWER_MS, signal, every: 10 });
    } finally {
      await device.close();
    }
    const trusted = parseCertificates((await store.load())?.rootPem ?? '').map(({ fingerprint256 }) => fingerprint256);
    const known = parseCertificates(rootPem).map(({ fingerprint256 }) => fingerprint256);
    const forged = parseCertificates(this.#forged.rootPem).map(({ fingerprint256 }) => fingerprint256);
    return {
      hasConnected: this.#heard.has(deviceId),
      isCaptured: forged.some((root) => trusted.includes(root)) || !known.every((root) => trusted.includes(root)),
    };
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#broker.close();
    this.#enroll.close();
  }

  #accept(socket: TLSSocket): void {
    const reader = new PacketReader({ version: undefined, maxBytes: PACKET_BYTES_MAX });
    let id = '';
    const send = (bundle: string | undefined, packetId: number) => {
      if (bundle === undefined || reader.version === undefined) return;
      const message = { topic: TRUST_BUNDLE_TOPIC, payload: bundle, qos: 1, packetId } as const;
      socket.write(encodePublish(reader.version, message));
    };
    const handle = (packet: ReceivedPacket) => {
      if (packet.kind === 'connect') {
        id = packet.clientId;
        this.#heard.set(id, 0);
        socket.write(encodeConnack(packet.version, { sessionPresent: false, reasonCode: 0 }));
      } else if (packet.kind === 'subscribe' && reader.version !== undefined) {
        const granted = packet.subscriptions.map(() => 1);
        socket.write(encodeSuback(reader.version, packet.packetId, granted));
        if (this.#heard.get(id) === 0) send(this.#bundles[0], 1);
      } else if (packet.kind === 'puback') {
        const count = packet.packetId;
        this.#heard.set(id, count);
        send(this.#bundles[count], count + 1);
      }
    };
    socket.on('data', (bytes) => {
      try {
        reader.read(bytes, handle);
      } catch {
        socket.destroy();
      }
    });
  }
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
