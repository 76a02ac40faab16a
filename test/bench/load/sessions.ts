/** MQTT sessions over raw TLS sockets: no MQTT library on the hot path, only bytes that are compared. */

import { connect, type TLSSocket } from 'node:tls';
import type { LoadDevice } from './devices.ts';
import { DISCONNECT, isConnackAccepted, isPuback } from './mqtt-bytes.ts';

export interface OpenSession {
  readonly device: LoadDevice;
  readonly socket: TLSSocket;
}

/** Handshake, CONNECT, CONNACK. Rejects when the server refuses or closes. */
export function openSession(device: LoadDevice, port: number): Promise<OpenSession> {
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
    socket.once('secureConnect', () => socket.write(device.connect));
    socket.once('error', failed);
    socket.once('close', failed);
    socket.once('data', (bytes: Buffer) => {
      socket.removeListener('error', failed);
      socket.removeListener('close', failed);
      socket.on('error', () => {}); // 'close' follows and tells
      if (isConnackAccepted(bytes)) resolve({ device, socket });
      else {
        socket.destroy();
        reject(new Error(`${device.id} expected CONNACK 0, found ${bytes.toString('hex', 0, 8)}`));
      }
    });
  });
}

/** Says DISCONNECT and waits until the server has closed its side too. */
export function closeSession({ socket }: OpenSession): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    socket.resume();
    socket.end(DISCONNECT);
  });
}

/** Keeps `topic` messages flowing, one in flight on each session, until `count` are acknowledged. */
export function publishOn(
  sessions: readonly OpenSession[],
  packetOf: (device: LoadDevice) => Buffer,
  count: number,
): Promise<void> {
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
    for (const { socket, device } of sessions) {
      const packet = packetOf(device);
      socket.on('close', lost);
      socket.on('data', (bytes: Buffer) => {
        if (!isPuback(bytes)) return fail(`expected PUBACK, found ${bytes.toString('hex', 0, 8)}`);
        acknowledged += 1;
        if (sent < count) {
          sent += 1;
          socket.write(packet);
        } else if (acknowledged === count) {
          stop();
          resolve();
        }
      });
      if (sent < count) {
        sent += 1;
        socket.write(packet);
      }
    }
  });
}
