import { TRUST_BUNDLE_TOPIC, urlHost } from '@rollcall/protocol';
import {
  CONNACK,
  connectPacket,
  PacketReader,
  PUBLISH,
  pubackPacket,
  readPublish,
  SUBACK,
  subscribePacket,
} from '../devices/mqtt-packets.ts';
import { TlsConnector } from '../devices/tls-connections.ts';

export interface SubscriberOptions {
  readonly id: string;
  readonly mqttUrl: string;
  readonly keyPem: string;
  /** The leaf alone. */
  readonly certificatePem: string;
  readonly rootPem: string;
}

const KEEPALIVE_S = 1_200;

export class TrustBundleSubscriber {
  readonly #options: SubscriberOptions;
  #end: () => void = () => {};
  #isConnected = false;
  #bundle = '';

  constructor(options: SubscriberOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** PEM, as it was delivered last; empty before. */
  get bundle(): string {
    return this.#bundle;
  }

  /** Resolves with false when the broker refuses the connection. */
  open(): Promise<boolean> {
    const { id, mqttUrl, keyPem, certificatePem, rootPem } = this.#options;
    const host = urlHost(mqttUrl);
    const { port } = new URL(mqttUrl);
    const reader = new PacketReader();
    return new Promise((resolve) => {
      const socket = new TlsConnector(rootPem).open(
        { target: { host, port: Number(port) }, identity: { keyPem, certificatePem } },
        {
          secure: () => socket.write(connectPacket(id, KEEPALIVE_S)),
          data: (bytes) =>
            reader.push(bytes, (first, body) => {
              const type = first >> 4;
              if (type === CONNACK && body[1] === 0) socket.write(subscribePacket(1, [TRUST_BUNDLE_TOPIC], 1));
              else if (type === CONNACK) socket.destroy();
              else if (type === SUBACK) {
                this.#isConnected = true;
                resolve(true);
              } else if (type === PUBLISH) {
                const { payload, packetId, qos } = readPublish(first, body);
                this.#bundle = payload.toString('latin1');
                if (qos === 1) socket.write(pubackPacket(packetId));
              }
            }),
          closed: () => {
            this.#isConnected = false;
            resolve(false);
          },
        },
      );
      this.#end = () => socket.destroy();
    });
  }

  close(): void {
    this.#end();
  }
}
