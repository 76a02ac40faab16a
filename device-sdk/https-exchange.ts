/**
 * One HTTPS request to the enroll server, with the connection verified *before* a byte of the request is written.
 * Answers are bounded in size and time. It knows no EST and no tokens, and never follows a redirect.
 */

import type { ClientRequest, IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { parseServerTime, TIME_PATH } from '@rollcall/protocol';
import { isWithin } from './certification-path.ts';
import { asDeviceError, DeviceError } from './device-error.ts';
import { connectError, hostPortOf } from './network-error.ts';
import {
  type ClientCredential,
  isDateError,
  openTls,
  serverTrustError,
  type TlsConnectOptions,
  type ValidityTime,
} from './server-verification.ts';

/** The clock for the validity check of servers; it learns the time from them. */
export interface PeerClock {
  dates(): ValidityTime;
  /** A server that proved itself says what time it is, milliseconds since 1970. */
  learn(time: number): void;
  /** The last known good time: a server whose own dates could not be judged is not believed an earlier one. */
  readonly lastGood: number;
}

export interface HttpsPeer {
  /** Origin, `https://host:port`. */
  readonly url: string;
  /** PEM of the only roots trusted for this exchange; `unverified` for the one request that fetches them. */
  readonly root: string | 'unverified';
  /** PEM of the revocation lists of those roots. */
  readonly rootCrl?: string | undefined;
  readonly credential?: ClientCredential;
  /** Without one, the system's clock is the only judge, and nobody learns the time. */
  readonly clock?: PeerClock | undefined;
  /** Aborted, the exchange fails with `closed`. */
  readonly signal?: AbortSignal | undefined;
}

export interface HttpsRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Longest body read; a longer one fails the exchange. */
  readonly maxBytes: number;
  /** Milliseconds for connection and answer together. */
  readonly timeout: number;
}

export interface HttpsResponse {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** Whether the certificate of the server that said so is valid at a time, milliseconds since 1970. */
  isValidAt(time: number): boolean;
}

/**
 * Rejects with `server_untrusted`, `server_unreachable`, `answer_invalid`, or `closed` when the signal aborts. A server
 * that is not believed only because of a date is asked for the time, and then judged by that.
 */
export async function exchange(peer: HttpsPeer, request: HttpsRequest): Promise<HttpsResponse> {
  const { clock } = peer;
  const dates = clock?.dates() ?? 'system';
  try {
    return await exchangeOnce(peer, request, dates);
  } catch (error) {
    const hasInvalidDates = error instanceof DeviceError && isDateError((error.cause ?? {}) as NodeJS.ErrnoException);
    if (!hasInvalidDates || clock === undefined || dates !== 'system') throw error;
    await fetchServerTime(peer, clock);
    return exchangeOnce(peer, request, clock.dates());
  }
}

/**
 * Asks a server for the time whose dates can't be judged yet. Nothing secret is sent. It is believed only if it holds a
 * certificate under the fleet's root that is valid at the time it tells, and that time is not before one known to be
 * good: an old certificate with a stolen key can't turn the clock back to its own days. Rejects with `server_untrusted`.
 */
export async function fetchServerTime(peer: HttpsPeer, clock: PeerClock): Promise<void> {
  const { url, root, rootCrl, signal } = peer;
  const answer = await exchangeOnce(
    { url, root, rootCrl, signal },
    { method: 'GET', path: TIME_PATH, maxBytes: 4_096, timeout: 30_000 },
    'unchecked',
  );
  const time = parseServerTime(answer.body.toString('utf8'))?.unixMs ?? Date.parse(String(answer.headers.date));
  if (!Number.isFinite(time) || !answer.isValidAt(time) || time < clock.lastGood) {
    throw new DeviceError('server_untrusted', { reason: 'expected a server that is valid at the time it tells' });
  }
  clock.learn(time);
}

async function exchangeOnce(peer: HttpsPeer, request: HttpsRequest, dates: ValidityTime): Promise<HttpsResponse> {
  if (peer.signal?.aborted === true) throw new DeviceError('closed');
  const options: TlsConnectOptions = {
    url: peer.url,
    defaultPort: 443,
    // Nothing secret is ever sent to an `unverified` peer: the root that it hands out is compared with the token's pin.
    trust: peer.root === 'unverified' ? peer.root : { rootsPem: peer.root, rootCrlPem: peer.rootCrl, dates },
    credential: peer.credential,
    protocols: ['http/1.1'],
  };
  const socket = openTls(options);
  socket.on('error', () => {}); // a late one, after the answer, concerns nobody
  const onAbort = () => socket.destroy(new DeviceError('closed'));
  peer.signal?.addEventListener('abort', onAbort);
  const timer = setTimeout(() => {
    socket.destroy(
      new DeviceError('server_unreachable', {
        reason: `${hostPortOf(options.url, options.defaultPort)}: no answer within ${request.timeout} ms`,
      }),
    );
  }, request.timeout);
  try {
    await verified(socket, options);
    return await send(socket, peer, request);
  } catch (error) {
    throw asDeviceError(error, 'server_unreachable');
  } finally {
    clearTimeout(timer);
    peer.signal?.removeEventListener('abort', onAbort);
    socket.destroy();
  }
}

function verified(socket: TLSSocket, options: TlsConnectOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const { url, defaultPort } = options;
    socket.once('error', (error: NodeJS.ErrnoException) => reject(connectError(error, url, defaultPort)));
    socket.once('close', () => {
      const reason = `${hostPortOf(url, defaultPort)}: the connection was closed`;
      reject(new DeviceError('server_unreachable', { reason }));
    });
    socket.once('secureConnect', () => {
      const doubt = serverTrustError(socket, options);
      if (doubt === undefined) resolve();
      else reject(doubt);
    });
  });
}

async function send(socket: TLSSocket, peer: HttpsPeer, request: HttpsRequest): Promise<HttpsResponse> {
  // When it is needed: a device that is enrolled runs for weeks without it, and it is four megabytes of memory.
  const { request: httpRequest } = await import('node:http');
  const headers: Record<string, string> = {
    ...request.headers,
    host: new URL(peer.url).host,
    connection: 'close',
  };
  if (request.body !== undefined) headers['content-length'] = String(Buffer.byteLength(request.body));
  return new Promise((resolve, reject) => {
    const outgoing: ClientRequest = httpRequest({
      createConnection: () => socket,
      method: request.method,
      path: request.path,
      headers,
    });
    outgoing.once('error', reject);
    outgoing.once('response', (incoming) => {
      const leaf = socket.getPeerX509Certificate(); // the socket forgets it when it ends
      readBody(incoming, request.maxBytes).then((body) => {
        const isValidAt = (time: number) => leaf !== undefined && isWithin(leaf, time);
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body, isValidAt });
      }, reject);
    });
    outgoing.end(request.body);
  });
}

async function readBody(incoming: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) {
      throw new DeviceError('answer_invalid', { reason: `expected at most ${maxBytes} bytes of body` });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
