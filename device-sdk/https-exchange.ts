/**
 * One HTTPS request to the enroll server, with the connection verified *before* a byte of the request is written.
 * Answers are bounded in size and time. It knows no EST and no tokens, and never follows a redirect.
 */

import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { asDeviceError, DeviceError } from './device-error.ts';

export interface HttpsPeer {
  /** Origin, `https://host:port`. */
  readonly url: string;
  /** PEM of the only root trusted for this exchange; `unverified` for the one request that fetches it. */
  readonly root: string | 'unverified';
  /** Client certificate (chain, leaf first) and key, both PEM. */
  readonly credential?: { readonly certificatePem: string; readonly keyPem: string };
  /** Told the server's time, milliseconds since 1970, of each answer of a verified server that names one. */
  readonly onTime?: ((time: number) => void) | undefined;
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

export interface HttpsAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** Rejects with `server_untrusted`, `server_unreachable`, `answer_invalid`, or `closed` when the signal aborts. */
export async function exchange(peer: HttpsPeer, request: HttpsRequest): Promise<HttpsAnswer> {
  if (peer.signal?.aborted === true) throw new DeviceError('closed');
  const socket = openSocket(peer);
  const onAbort = () => socket.destroy(new DeviceError('closed'));
  peer.signal?.addEventListener('abort', onAbort);
  const timer = setTimeout(() => {
    socket.destroy(new DeviceError('server_unreachable', { reason: `no answer within ${request.timeout} ms` }));
  }, request.timeout);
  try {
    await verified(socket, peer);
    return await send(socket, peer, request);
  } catch (error) {
    throw asDeviceError(error, 'server_unreachable');
  } finally {
    clearTimeout(timer);
    peer.signal?.removeEventListener('abort', onAbort);
    socket.destroy();
  }
}

function openSocket(peer: HttpsPeer): TLSSocket {
  const url = new URL(peer.url);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const options: ConnectionOptions = {
    host,
    port: url.port === '' ? 443 : Number(url.port),
    minVersion: 'TLSv1.2',
    ALPNProtocols: ['http/1.1'],
    // Only `unverified` peers skip the check, and nothing secret is ever sent to one: the root that it hands out is
    // compared with the token's pin.
    rejectUnauthorized: peer.root !== 'unverified',
  };
  if (isIP(host) === 0) options.servername = host;
  if (peer.root !== 'unverified') options.ca = peer.root;
  if (peer.credential !== undefined) {
    options.cert = peer.credential.certificatePem;
    options.key = peer.credential.keyPem;
  }
  const socket = connect(options);
  socket.on('error', () => {}); // a late one, after the answer, concerns nobody
  return socket;
}

function verified(socket: TLSSocket, peer: HttpsPeer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', (error: NodeJS.ErrnoException) => reject(connectError(error)));
    socket.once('close', () => reject(new DeviceError('server_unreachable', { reason: 'the connection was closed' })));
    socket.once('secureConnect', () => {
      if (peer.root === 'unverified' || socket.authorized) resolve();
      else reject(new DeviceError('server_untrusted'));
    });
  });
}

function connectError(error: NodeJS.ErrnoException): DeviceError {
  if (error instanceof DeviceError) return error;
  const code = isNetworkError(error) ? 'server_unreachable' : 'server_untrusted';
  return new DeviceError(code, { reason: error.code ?? error.message, cause: error });
}

/** Nobody answered or the line broke, as opposed to TLS and its certificate check. EPROTO is OpenSSL's failure in disguise. */
export function isNetworkError(error: NodeJS.ErrnoException): boolean {
  const code = error.code ?? '';
  return code !== 'EPROTO' && /^E(AI_)?[A-Z0-9]+$/.test(code);
}

function send(socket: TLSSocket, peer: HttpsPeer, request: HttpsRequest): Promise<HttpsAnswer> {
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
      readBody(incoming, request.maxBytes).then(
        (body) => resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body }),
        reject,
      );
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
