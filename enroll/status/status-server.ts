/**
 * Plain HTTP for CRLs, CA certificates and OCSP. Not HTTPS, because a client that checks a certificate cannot be required
 * to check another one first (RFC 5280, section 8); the documents are signed. The server reads only and authenticates
 * no client.
 */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { asProblem, Problem, parseDecimal, sendProblem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { createHttpServer, createRateLimit, type RequestLimits } from '../../limits/index.ts';
import { OCSP_REQUEST_MAX } from './ocsp-request.ts';
import type { StatusPublication } from './status-publication.ts';

export interface StatusServer {
  readonly port: number;
  close(): Promise<void>;
}

export interface StatusServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly status: Pick<StatusPublication, 'document' | 'ocsp'>;
  /** Shared with the other servers of the fleet. */
  readonly requestLimits: RequestLimits;
  /** Requests per second to this server, in total and per client network; 0: no limit. */
  readonly requestsPerSecond: number;
  readonly requestsPerSecondPerAddress: number;
  /** Milliseconds in which a client has to send its request, 5 s; a client that reads nothing for six times as long is disconnected. */
  readonly timeoutMs?: number;
  readonly now: () => number;
  readonly log: Logger;
}

const OCSP_MEDIA_TYPE = 'application/ocsp-response';
const OCSP_MAX_AGE = 300;
/** Base64 of the longest request, each character possibly written as %XX. */
const TARGET_MAX = Math.ceil(OCSP_REQUEST_MAX / 3) * 4 * 3 + 64;
const TIMEOUT_MS = 5_000;
/** A response has this many times the timeout of a request. */
const RESPONSE_TIMEOUT_FACTOR = 6;
const CONNECTIONS_MAX = 1_000;

/** Throws Problem `address_in_use`, or `config_invalid` for an address that is not this machine's. */
export async function createStatusServer(options: StatusServerOptions): Promise<StatusServer> {
  const { now, log, timeoutMs = TIMEOUT_MS } = options;
  const { requests, refusalLog } = options.requestLimits;
  const respond = createResponder(options);

  const refuse = (response: ServerResponse, error: unknown, address: string): void => {
    const problem = asProblem(error);
    const fields = { code: problem.code, reason: problem.reason, address };
    if (problem.status < 500) refusalLog.write(log, 'debug', address, fields, 'request refused');
    else refusalLog.write(log, 'error', address, { ...fields, err: problem.cause ?? problem }, 'request failed');
    if (response.headersSent) response.destroy();
    else
      sendProblem(response, problem, now(), problem.code === 'method_not_allowed' ? { allow: 'GET, HEAD, POST' } : {});
  };

  const server = createHttpServer({
    headersTimeout: timeoutMs,
    requestTimeout: timeoutMs,
    keepAliveTimeout: timeoutMs,
    maxHeaderSize: 32_768,
    noDelay: true,
  });
  requests.attach(server, {
    handle: (request, response) => {
      const address = request.socket.remoteAddress ?? 'gone';
      respond(request, response).catch((error: unknown) => refuse(response, error, address));
    },
    refuse: (response, retryAfter, address) => refuse(response, new Problem('rate_limited', { retryAfter }), address),
  });
  // Bounds clients that request a CRL and read none of it. A CRL may take a while to be issued, hence the factor.
  server.timeout = RESPONSE_TIMEOUT_FACTOR * timeoutMs;
  server.maxConnections = CONNECTIONS_MAX;
  await listen(server, options);
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Sends the response to one request, or throws the Problem by which it is refused. */
function createResponder({ status, ...options }: StatusServerOptions) {
  const rate = createRateLimit({
    monotonic: () => performance.now(),
    random: Math.random,
    perSecond: options.requestsPerSecond,
    perSecondPerAddress: options.requestsPerSecondPerAddress,
  });

  const sendOcsp = async (response: ServerResponse, request: Buffer, cacheControl: string): Promise<void> => {
    send(response, await status.ocsp(request), OCSP_MEDIA_TYPE, cacheControl);
  };

  const sendDocument = async (response: ServerResponse, path: string, isHead: boolean): Promise<void> => {
    const document = await status.document(path);
    if (document === undefined) throw new Problem('not_found');
    send(response, document.body, document.mediaType, `max-age=${document.maxAge}`, isHead);
  };

  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const retryAfter = rate.take(request.socket.remoteAddress ?? '');
    if (retryAfter > 0) throw new Problem('rate_limited', { retryAfter });
    const target = request.url ?? '';
    if (target.length > TARGET_MAX) throw new Problem('request_invalid', { detail: 'the path is too long' });
    const path = target.split('?')[0] as string;
    const isRead = request.method === 'GET' || request.method === 'HEAD';

    if (path === '/ocsp' && request.method === 'POST') {
      return sendOcsp(response, await readBody(request), 'no-store');
    }
    if (path.startsWith('/ocsp/') && isRead) {
      const der = ocspRequestInPath(path.slice('/ocsp/'.length));
      if (der === undefined) throw new Problem('request_invalid', { detail: 'expected base64 of an OCSP request' });
      return sendOcsp(response, der, `max-age=${OCSP_MAX_AGE}, public, no-transform`);
    }
    if (!isRead) throw new Problem('method_not_allowed');
    return sendDocument(response, path, request.method === 'HEAD');
  };
}

function send(response: ServerResponse, body: Buffer, mediaType: string, cacheControl: string, isHead = false): void {
  response.writeHead(200, {
    'content-type': mediaType,
    'content-length': body.length,
    'cache-control': cacheControl,
  });
  response.end(isHead ? undefined : body);
}

function listen(server: Server, { host, port }: StatusServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const reason = `certificate status: ${host}:${port}: ${cause.code}`;
      reject(new Problem(cause.code === 'EADDRINUSE' ? 'address_in_use' : 'config_invalid', { reason, cause }));
    });
    server.listen(port, host, () => resolve());
  });
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const tooLarge = () => new Problem('body_too_large');
  const declared = request.headers['content-length'];
  if (declared !== undefined && parseDecimal(declared, 0, OCSP_REQUEST_MAX) === undefined) throw tooLarge();
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > OCSP_REQUEST_MAX) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** RFC 6960, appendix A.1: base64, then URL encoding. Some clients leave the second step out. */
function ocspRequestInPath(text: string): Buffer | undefined {
  let base64: string;
  try {
    base64 = decodeURIComponent(text);
  } catch {
    return undefined;
  }
  return /^[A-Za-z0-9+/]+={0,2}$/.test(base64) ? Buffer.from(base64, 'base64') : undefined;
}
