import { encodeConnect, encodePuback, encodeSubscribe } from '@rollcall/device-sdk/mqtt-codec';
import { TRUST_BUNDLE_TOPIC, urlHost } from '@rollcall/protocol';
import { brokerPackets } from '../devices/broker-packets.ts';
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
    const reader = brokerPackets(4);
    return new Promise((resolve) => {
      const socket = new TlsConnector(rootPem).open(
        { target: { host, port: Number(port) }, identity: { keyPem, certificatePem } },
        {
          secure: () =>
            socket.write(encodeConnect({ version: 4, clientId: id, cleanStart: true, keepAlive: KEEPALIVE_S })),
          data: (bytes) =>
            reader.read(bytes, (packet) => {
              if (packet.kind === 'connack') {
                if (packet.reasonCode !== 0) socket.destroy();
                else socket.write(encodeSubscribe(4, 1, [{ filter: TRUST_BUNDLE_TOPIC, qos: 1 }]));
              } else if (packet.kind === 'suback') {
                this.#isConnected = true;
                resolve(true);
              } else if (packet.kind === 'publish') {
                this.#bundle = packet.payload.toString('latin1');
                if (packet.qos === 1) socket.write(encodePuback(4, packet.packetId));
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
