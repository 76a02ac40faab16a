/**
 * One HTTP request to the console: over its unix socket, or over HTTPS with a key or a certificate of an operator, and a pinned CA. Bounds how
 * long it waits for an answer and how much of it it reads. Uses `node:http`: importing undici 8.13.1 adds 50 to 80 ms of
 * CPU to every start of the command line, 5 to 9 % of `token list`, and its entry has no smaller part.
 */

import type { ClientRequest, IncomingMessage } from 'node:http';
import { addressOptions, Problem, urlHost } from '@rollcall/protocol';

// An import statement reads every name that `node:http` exports, and one of them loads the undici that is part of Node: 40 ms of CPU.
const { request: httpRequest } = process.getBuiltinModule('node:http');
const { request: httpsRequest } = process.getBuiltinModule('node:https');

export type ConsoleAddress =
  | { readonly socketPath: string }
  | {
      /** `https://host:port`. */
      readonly url: string;
      /** An API key or the operator key; left out with a certificate. */
      readonly operatorKey?: string;
      /** Of an operator, PEM: the certificate, leaf first, and its key. */
      readonly certificate?: { readonly cert: string; readonly key: string };
      /** PEM of the root to trust. */
      readonly ca: string;
    };

const ANSWER_TIMEOUT_MS = 120_000;
/** A page has at most 16 MiB of payload, which JSON escapes make six times as long at most. */
const MAX_ANSWER_BYTES = 134_217_728;
const MAX_LINE_LENGTH = 16_777_216;

export interface ConsoleRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly accept: string;
  /** JSON. */
  readonly body?: string | undefined;
  /** Of a request that changes something. */
  readonly idempotencyKey?: string | undefined;
  /** False for streams, which may be silent for long. */
  readonly hasTimeout: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Resolves with the head of the answer. Throws Problem `server_unreachable`, or `unavailable` when nothing comes. */
export function sendRequest(address: ConsoleAddress, order: ConsoleRequest): Promise<IncomingMessage> {
  const { method, path, accept, body, idempotencyKey, signal } = order;
  const options = {
    method,
    path,
    agent: false, // a connection of its own: a command makes few requests
    ...(signal !== undefined && { signal }),
    headers: {
      accept,
      ...(idempotencyKey !== undefined && { 'idempotency-key': `"${idempotencyKey}"` }),
      ...(body !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
    },
  } as const;
  return new Promise((resolve, reject) => {
    let request: ClientRequest;
    if ('socketPath' in address) {
      request = httpRequest({ ...options, socketPath: address.socketPath, host: 'localhost' }, resolve);
    } else {
      const { port } = new URL(address.url);
      const host = urlHost(address.url);
      const { ca, certificate, operatorKey } = address;
      const headers = {
        ...options.headers,
        ...(operatorKey !== undefined && { authorization: `Bearer ${operatorKey}` }),
      };
      const tls = { ca, ...certificate };
      request = httpsRequest({ ...options, host, port, ...addressOptions(host), ...tls, headers }, resolve);
    }
    if (order.hasTimeout) {
      request.setTimeout(ANSWER_TIMEOUT_MS, () => {
        const detail = `the server did not answer in ${ANSWER_TIMEOUT_MS / 1000} s`;
        request.destroy(new Problem('unavailable', { detail }));
      });
    }
    request.once('error', (error) => reject(error instanceof Problem ? error : unreachable(error, address)));
    request.end(body);
  });
}

/** Throws Problem `internal` for an answer over the limit, `server_unreachable` for one that ends too early. */
export async function readAnswer(response: AsyncIterable<unknown>, maxBytes = MAX_ANSWER_BYTES): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response) {
      bytes += (chunk as Buffer).length;
      if (bytes > maxBytes) throw new Problem('internal', { reason: `the answer is longer than ${maxBytes} bytes` });
      chunks.push(chunk as Buffer);
    }
  } catch (error) {
    throw error instanceof Problem ? error : incompleteAnswer(error);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Only a line feed ends a line: JSON text may contain U+2028, which `node:readline` takes for an end of line. */
export async function* readLines(
  response: AsyncIterable<unknown> & { setEncoding(encoding: 'utf8'): unknown },
  maxLength = MAX_LINE_LENGTH,
): AsyncGenerator<string> {
  response.setEncoding('utf8');
  let rest = '';
  for await (const chunk of response) {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() as string;
    if (rest.length > maxLength) throw new Problem('internal', { reason: `a line is longer than ${maxLength}` });
    yield* parts;
  }
}

export function incompleteAnswer(cause: unknown): Problem {
  return new Problem('server_unreachable', { detail: 'the server hung up before its answer was complete', cause });
}

/** Errors of a connection to a running server: it was closed before the answer, or waits to be accepted. */
const CLOSED_BY_SERVER: ReadonlySet<string | undefined> = new Set(['ECONNRESET', 'EPIPE', 'EAGAIN']);

/** Whether the connection ended when the server may have received the request. */
export function wasCut(error: unknown): boolean {
  if (!(error instanceof Problem) || error.code !== 'server_unreachable') return false;
  return CLOSED_BY_SERVER.has((error.cause as NodeJS.ErrnoException | undefined)?.code ?? 'none');
}

export function unreachable(error: NodeJS.ErrnoException, address: ConsoleAddress): Problem {
  const where = 'socketPath' in address ? address.socketPath : address.url;
  if (CLOSED_BY_SERVER.has(error.code)) {
    return new Problem('server_unreachable', {
      detail: 'the server is there, and closed the connection before it answered',
      reason: `${where}: ${error.code}`,
      hint: 'it may have no file descriptor left, or be stopping; its log says which',
      cause: error,
    });
  }
  const notOurs = error.code === 'EACCES' || error.code === 'EPERM';
  const remedy =
    'socketPath' in address
      ? 'start one with "rollcall serve", or say where it runs with --data DIR or --socket PATH'
      : 'expected the URL of a running console, and roots (--server-ca) under which its certificate is';
  return new Problem('server_unreachable', {
    reason: `${where}: ${error.code ?? error.message}`,
    hint: notOurs ? 'the socket opens to the user that runs the server only' : remedy,
    cause: error,
  });
}
