/** MQTT sessions over raw TLS sockets: no MQTT library on the hot path, only bytes that are compared. */

import { connect, type TLSSocket } from 'node:tls';
import { type LoadDevice, type PublishRing, RING } from './devices.ts';
import { DISCONNECT, isConnackAccepted, type MqttVersion, pubacksIn } from './mqtt-bytes.ts';

export interface OpenSession {
  readonly device: LoadDevice;
  readonly version: MqttVersion;
  readonly socket: TLSSocket;
  /** Milliseconds from CONNECT to CONNACK. */
  readonly connackAfter: number;
}

/** Handshake, CONNECT, CONNACK. Rejects when the server refuses or closes. */
export function openSession(device: LoadDevice, port: number, version: MqttVersion = 4): Promise<OpenSession> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: '127.0.0.1',
      port,
      secureContext: device.context,
      rejectUnauthorized: false,
    });
    socket.setNoDelay(true);
    const failed = (error?: Error) =>
      reject(new Error(`${device.id} was not let in: ${error?.message ?? 'the connection was closed'}`));
    let sentAt = 0;
    socket.once('secureConnect', () => {
      sentAt = performance.now();
      socket.write(device.connect[version]);
    });
    socket.once('error', failed);
    socket.once('close', failed);
    socket.once('data', (bytes: Buffer) => {
      socket.removeListener('error', failed);
      socket.removeListener('close', failed);
      socket.on('error', () => {}); // 'close' follows
      if (isConnackAccepted(bytes)) resolve({ device, socket, version, connackAfter: performance.now() - sentAt });
      else {
        socket.destroy();
        reject(new Error(`${device.id} expected CONNACK 0, found ${bytes.toString('hex', 0, 8)}`));
      }
    });
  });
}

/** Sends DISCONNECT and waits until the server has closed its side too. */
export function closeSession({ socket }: OpenSession): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    socket.resume();
    socket.end(DISCONNECT);
  });
}

/** Has `inFlight` messages in flight on each session, 1 to `RING`, until `count` are acknowledged. */
export function publishOn(
  sessions: readonly OpenSession[],
  ringOf: (session: OpenSession) => PublishRing,
  size: { readonly count: number; readonly inFlight: number },
): Promise<void> {
  const { count, inFlight } = size;
  return new Promise((resolve, reject) => {
    let sent = 0;
    let acknowledged = 0;
    const stop = () => {
      for (const { socket } of sessions) {
        socket.removeAllListeners('data');
        socket.removeListener('close', lost);
      }
    };
    const fail = (what: string) => {
      stop();
      reject(new Error(what));
    };
    const lost = () => fail(`a session ended while it published, after ${acknowledged} messages`);
    for (const session of sessions) {
      const { socket } = session;
      const { bytes: ring, packetBytes } = ringOf(session);
      let next = 0;
      /** So many more in one piece, as a device does that has a queue. */
      const send = (wanted: number) => {
        const many = Math.min(wanted, count - sent);
        if (many === 0) return;
        sent += many;
        socket.write(ring.subarray(next * packetBytes, (next + many) * packetBytes));
        next = (next + many) % RING;
      };
      socket.on('close', lost);
      socket.on('data', (bytes: Buffer) => {
        const pubacks = pubacksIn(bytes);
        if (pubacks === 0) return fail(`expected PUBACK, found ${bytes.toString('hex', 0, 8)}`);
        acknowledged += pubacks;
        if (acknowledged === count) {
          stop();
          resolve();
        } else send(pubacks);
      });
      send(inFlight);
    }
  });
}
