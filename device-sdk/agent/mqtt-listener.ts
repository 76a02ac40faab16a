/**
 * Plain MQTT 3.1.1 and 5 on loopback, for applications that have an MQTT client and nothing else: what they publish is published
 * as this device, on its own topics and no others; what they subscribe to is its commands. No broker: applications don't
 * hear each other, and nothing is retained.
 */

import { createServer } from 'node:net';
import type { LocalServer } from './http-server.ts';
import { listenOnLoopback } from './loopback-port.ts';
import { type ApplicationOptions, MqttApplication } from './mqtt-application.ts';
import type { LoopbackAddress } from './settings.ts';

export interface MqttListenerOptions extends ApplicationOptions {
  readonly address: LoopbackAddress;
}

export interface MqttListener extends LocalServer {
  readonly port: number;
}

const CONNECTIONS_MAX = 64;

/** Rejects with DeviceError `address_in_use` or `internal`. */
export async function startMqttListener(options: MqttListenerOptions): Promise<MqttListener> {
  const open = new Set<MqttApplication>();
  const server = createServer({ noDelay: true }, (socket) => {
    const application = new MqttApplication(socket, options);
    open.add(application);
    socket.once('close', () => open.delete(application));
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listenOnLoopback(server, options.address);
  const { port } = server.address() as { readonly port: number };
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const application of open) application.shutDown();
      }),
  };
}
