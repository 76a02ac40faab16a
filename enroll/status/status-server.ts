/**
 * Plain HTTP for revocation lists, CA certificates and OCSP, and for nothing else. Not HTTPS, because whoever checks a
 * certificate can't be asked to check another one first (RFC 5280, section 8); what it hands out is signed. Reads, never
 * changes anything, and asks nobody who they are.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { asProblem, Problem, parseDecimal, sendProblem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { createRateLimit, type RequestLimits } from '../../limits/index.ts';
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
  readonly throttle: RequestLimits;
  /** Requests per second of this server alone, in all and per address; 0 means no limit. */
  readonly requestsPerSecond: number;
  readonly requestsPerSecondPerAddress: number;
  /** Milliseconds to send a request; an answer of which nothing was taken for six times that is given up. 5 s. */
  readonly patienceMs?: number;
  readonly now: () => number;
  readonly log: Logger;
}

const OCSP_MEDIA_TYPE = 'application/ocsp-response';
const OCSP_MAX_AGE = 300;
/** Base64 of the longest request, each character perhaps written as %XX. */
const TARGET_MAX = Math.ceil(OCSP_REQUEST_MAX / 3) * 4 * 3 + 64;
const PATIENCE_MS = 5_000;
/** Of a client's patience, that a list may take. */
const MAKING = 6;
const CONNECTIONS_MAX = 1_000;

/** Throws Problem `address_in_use`. */
export async function createStatusServer(options: StatusServerOptions): Promise<StatusServer> {
  const { status, now, log, patienceMs: patience = PATIENCE_MS } = options;
  const { requests, refusalLog } = options.throttle;
  const rate = createRateLimit({
    monotonic: () => performance.now(),
    random: Math.random,
    perSecond: options.requestsPerSecond,
    perSecondPerAddress: options.requestsPerSecondPerAddress,
  });

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const retryAfter = rate.take(request.socket.remoteAddress ?? '');
    if (retryAfter > 0) throw new Problem('rate_limited', { retryAfter });
    const target = request.url ?? '';
    if (target.length > TARGET_MAX) throw new Problem('request_invalid', { detail: 'the path is too long' });
    const path = target.split('?')[0] as string;
    const isRead = request.method === 'GET' || request.method === 'HEAD';

    if (path === '/ocsp' && request.method === 'POST') {
      await sendOcsp(response, await readBody(request), 'no-store');
      return;
    }
    if (path.startsWith('/ocsp/') && isRead) {
      const der = fromPath(path.slice('/ocsp/'.length));
      if (der === undefined) throw new Problem('request_invalid', { detail: 'expected base64 of an OCSP request' });
      await sendOcsp(response, der, `max-age=${OCSP_MAX_AGE}, public, no-transform`);
      return;
    }
    if (!isRead) throw new Problem('method_not_allowed');
    const document = await status.document(path);
    if (document === undefined) throw new Problem('not_found');
    response.writeHead(200, {
      'content-type': document.mediaType,
      'content-length': document.body.length,
      'cache-control': `max-age=${document.maxAge}`,
    });
    response.end(request.method === 'HEAD' ? undefined : document.body);
  };

  const sendOcsp = async (response: ServerResponse, request: Buffer, cacheControl: string): Promise<void> => {
    const body = await status.ocsp(request);
    response.writeHead(200, {
      'content-type': OCSP_MEDIA_TYPE,
      'content-length': body.length,
      'cache-control': cacheControl,
    });
    response.end(body);
  };

  const refuse = (response: ServerResponse, error: unknown, address: string): void => {
    const problem = asProblem(error);
    const fields = { code: problem.code, reason: problem.reason, address };
    if (problem.status < 500) refusalLog.write(log, 'debug', address, fields, 'request refused');
    else refusalLog.write(log, 'error', address, { ...fields, err: problem.cause ?? problem }, 'request failed');
    if (response.headersSent) response.destroy();
    else
      sendProblem(response, problem, now(), problem.code === 'method_not_allowed' ? { allow: 'GET, HEAD, POST' } : {});
  };

  const server = createServer({
    headersTimeout: patience,
    requestTimeout: patience,
    keepAliveTimeout: patience,
    maxHeaderSize: 32_768,
    noDelay: true,
  });
  requests.attach(server, {
    handle: (request, response) => {
      const address = request.socket.remoteAddress ?? 'gone';
      answer(request, response).catch((error: unknown) => refuse(response, error, address));
    },
    refuse: (response, retryAfter, address) => refuse(response, new Problem('rate_limited', { retryAfter }), address),
  });
  // As many as there may be connections could ask for a list and read none of it; but a list may take time to be made.
  server.timeout = MAKING * patience;
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const reason = `certificate status: ${options.host}:${options.port}: ${cause.code}`;
      reject(new Problem(cause.code === 'EADDRINUSE' ? 'address_in_use' : 'config_invalid', { reason, cause }));
    });
    server.listen(options.port, options.host, () => resolve());
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
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

/** RFC 6960, appendix A.1: base64, then URL encoding; and there are clients that leave the second step out. */
function fromPath(text: string): Buffer | undefined {
  let base64: string;
  try {
    base64 = decodeURIComponent(text);
  } catch {
    return undefined;
  }
  return /^[A-Za-z0-9+/]+={0,2}$/.test(base64) ? Buffer.from(base64, 'base64') : undefined;
}
