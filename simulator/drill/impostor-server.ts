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
import { EST_PATHS, TRUST_BUNDLE_TOPIC } from '@rollcall/protocol';
import { PacketReader, PUBACK, publishPacket } from '../devices/mqtt-packets.ts';
import { waitUntil } from '../wait-until.ts';
import { type ForgedCertificates, forgeCertificates, type StolenCa } from './forged-certificates.ts';
import { parseCertificates } from './trusted-roots.ts';

export interface ImpostorOutcome {
  /** It connected to the impostor's broker. */
  readonly hasConnected: boolean;
  /** It trusts the forged root now, or no longer a root that it trusted before. */
  readonly isCaptured: boolean;
}

const CONNECT = 1;
const SUBSCRIBE = 8;
const CONNACK_ACCEPTED = Buffer.from([0x20, 2, 0, 0]);
const BUNDLE_TOPIC = Buffer.from(TRUST_BUNDLE_TOPIC);
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
    const reader = new PacketReader();
    let id = '';
    const send = (bundle: string | undefined, packetId: number) => {
      if (bundle !== undefined) socket.write(publishPacket(BUNDLE_TOPIC, bundle, 1, packetId));
    };
    socket.on('data', (bytes) =>
      reader.push(bytes, (first, body) => {
        const type = first >> 4;
        if (type === CONNECT) {
          id = body.toString('utf8', 12, 12 + body.readUInt16BE(10));
          this.#heard.set(id, 0);
          socket.write(CONNACK_ACCEPTED);
        } else if (type === SUBSCRIBE) {
          socket.write(Buffer.from([0x90, 2 + filtersOf(body), ...body.subarray(0, 2), ...granted(filtersOf(body))]));
          if (this.#heard.get(id) === 0) send(this.#bundles[0], 1);
        } else if (type === PUBACK) {
          const count = body.readUInt16BE(0);
          this.#heard.set(id, count);
          send(this.#bundles[count], count + 1);
        }
      }),
    );
  }
}

/** Topic filters of a SUBSCRIBE (MQTT 3.1.1, section 3.8.3). */
function filtersOf(body: Buffer): number {
  let count = 0;
  for (let at = 2; at < body.length; at += 3 + body.readUInt16BE(at)) count += 1;
  return count;
}

function granted(count: number): readonly number[] {
  return new Array<number>(count).fill(1);
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
