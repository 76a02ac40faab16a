/** The ports of the broker: MQTT over TLS, and MQTT over WebSocket on a port of its own or on the same one. All share limits and authorizer. */

import type { BrokerLimits } from '../broker-limits.ts';
import { type BrokerTls, openTlsListener, type TlsListener, type TlsListenerOptions } from './tls-listener.ts';
import { WebSocketUpgrade } from './web-socket-upgrade.ts';

export interface WebSocketOptions {
  readonly host: string;
  /** 0: any free port. That of MQTT, on the same host: both are served there, by ALPN. */
  readonly port: number;
  readonly path: string;
  /** Origins of pages that may connect, besides the server's own. */
  readonly origins: readonly string[];
}

export interface MqttListenerOptions extends Omit<TlsListenerOptions, 'speaks' | 'webSocket'> {
  readonly limits: BrokerLimits;
  readonly webSocket: WebSocketOptions | undefined;
}

export interface MqttListener {
  readonly port: number;
  /** Undefined when it is not served. */
  readonly webSocketPort: number | undefined;
  /** Applies to new handshakes. */
  replaceTls(tls: BrokerTls): void;
  /** Stops accepting. Resolves when every accepted connection is closed. */
  close(): Promise<void>;
}

/** Throws Problem `address_in_use`. */
export async function openMqttListener({ webSocket, limits, ...options }: MqttListenerOptions): Promise<MqttListener> {
  if (webSocket === undefined) {
    return withWebSocketPort(await openTlsListener({ ...options, speaks: 'mqtt', webSocket: undefined }), undefined);
  }
  const upgrade = createUpgrade(webSocket, limits, options);
  const { host, port } = webSocket;
  if (port !== 0 && port === options.port && host === options.host) {
    const shared = await openTlsListener({ ...options, speaks: 'both', webSocket: upgrade });
    return withWebSocketPort(shared, shared.port);
  }
  const mqtt = await openTlsListener({ ...options, speaks: 'mqtt', webSocket: undefined });
  const other = await openTlsListener({ ...options, host, port, speaks: 'web socket', webSocket: upgrade }).catch(
    async (error: unknown) => {
      await mqtt.close();
      throw error;
    },
  );
  return {
    port: mqtt.port,
    webSocketPort: other.port,
    replaceTls: (tls) => {
      mqtt.replaceTls(tls);
      other.replaceTls(tls);
    },
    close: async () => {
      await Promise.all([mqtt.close(), other.close()]);
    },
  };
}

function withWebSocketPort(listener: TlsListener, webSocketPort: number | undefined): MqttListener {
  return { ...listener, webSocketPort };
}

function createUpgrade(
  { path, origins }: WebSocketOptions,
  limits: BrokerLimits,
  { authorizer, refusals }: Pick<TlsListenerOptions, 'authorizer' | 'refusals'>,
): WebSocketUpgrade {
  return new WebSocketUpgrade({
    path,
    origins,
    limits,
    upgraded: (tls, slot, stream) => authorizer.handshakeFinished({ tls, stream, slot }),
    refused: ({ address }, detail) => refusals.report('upgrade_refused', address, { detail }),
  });
}
