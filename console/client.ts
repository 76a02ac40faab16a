/**
 * Speaks to a running console, as the command line does: over its unix socket, or over HTTPS with the operator key.
 * Its methods and their types come from the table of endpoints. Problem answers are thrown as `Problem`; no server is
 * `server_unreachable`.
 */

import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isProblemCode, localhostLookup, Problem, parseDecimal, urlHost } from '@rollcall/protocol';
import type { Answer, Endpoint, Sent } from './api/endpoint.ts';
import { problemView } from './api/schemas.ts';
import { endpoints } from './endpoints.ts';

type Endpoints = typeof endpoints;

export type ConsoleAddress =
  | { readonly socketPath: string }
  | {
      /** `https://host:port`. */
      readonly url: string;
      readonly operatorKey: string;
      /** PEM of the root to trust. */
      readonly ca: string;
    };

/** What an endpoint wants to know, in one object: its parameters, and its query or its body. */
type Input<E extends Endpoint> = Sent<E, 'params'> & Sent<E, 'query'> & Sent<E, 'body'>;

/** An order that may be empty may be left out. */
type InputArguments<E extends Endpoint> = object extends Input<E> ? [order?: Input<E>] : [order: Input<E>];

type Method<E extends Endpoint> = E extends { readonly stream: 'lines' }
  ? (order?: Input<E>, signal?: AbortSignal) => AsyncIterable<Answer<E>>
  : E extends { readonly stream: 'bytes' }
    ? (order?: Input<E>) => AsyncIterable<Buffer>
    : (...order: InputArguments<E>) => Promise<Answer<E>>;

/**
 * A method for each endpoint, of its name. Every method throws `Problem`: the server's own, `server_unreachable`, or
 * `unavailable` when it does not answer. A stream of bytes throws when it is cut off before its end; one of lines goes
 * on until its signal, and throws `unavailable` when this reader is dropped as too slow.
 */
export type ConsoleClient = { readonly [Name in keyof Endpoints]: Method<Endpoints[Name]> } & {
  /** Ends streams of lines. Other calls hold nothing open. */
  close(): Promise<void>;
};

const ANSWER_TIMEOUT_MS = 120_000;

interface Call {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: unknown;
  readonly signal?: AbortSignal;
}

type AnyInput = Readonly<Record<string, unknown>>;

export function openConsoleClient(address: ConsoleAddress): ConsoleClient {
  const closed = new AbortController();
  const methodOf = (endpoint: Endpoint) => {
    if (endpoint.stream === 'bytes') return (order?: AnyInput) => download(address, endpoint, callOf(endpoint, order));
    if (endpoint.stream === 'lines') {
      return (order?: AnyInput, signal = closed.signal) =>
        follow(address, endpoint, callOf(endpoint, order), AbortSignal.any([closed.signal, signal]));
    }
    return (order?: AnyInput) => fetchAnswer(address, endpoint, callOf(endpoint, order));
  };
  const methods = Object.entries<Endpoint>(endpoints).map(([name, endpoint]) => [name, methodOf(endpoint)] as const);
  return { ...Object.fromEntries(methods), close: async () => closed.abort() } as unknown as ConsoleClient;
}

/** Which of what was ordered stands in the path, and which beside it. */
function callOf(endpoint: Endpoint, order: AnyInput = {}): Call {
  const inPath = new Set([...endpoint.path.matchAll(/:([a-z]+)/g)].map(([, name]) => name as string));
  const [params, rest]: [Record<string, string>, Record<string, unknown>] = [{}, {}];
  for (const [name, value] of Object.entries(order)) {
    if (inPath.has(name)) params[name] = String(value);
    else rest[name] = value;
  }
  return endpoint.body === undefined ? { params, query: rest, body: undefined } : { params, query: {}, body: rest };
}

async function fetchAnswer(address: ConsoleAddress, endpoint: Endpoint, call: Call): Promise<unknown> {
  const response = await open(address, endpoint, call);
  const text = await readAll(response);
  if (response.statusCode !== 200) throw problemOf(response, text);
  const value: unknown = endpoint.mediaType === undefined ? parseJson(text) : text;
  const checked = endpoint.answer.safeParse(value);
  if (checked.success) return checked.data;
  throw new Problem('internal', { reason: `answer of ${endpoint.path} has another shape: ${checked.error.message}` });
}

async function* follow(
  address: ConsoleAddress,
  endpoint: Endpoint,
  call: Call,
  signal: AbortSignal,
): AsyncGenerator<unknown> {
  let response: IncomingMessage | undefined;
  try {
    response = await open(address, endpoint, { ...call, signal });
    if (response.statusCode !== 200) throw problemOf(response, await readAll(response));
    for await (const line of lines(response)) {
      const value = parseJson(line);
      const problem = problemView.safeParse(value);
      if (problem.success) throw new Problem(codeOf(problem.data.code), { detail: problem.data.detail });
      yield endpoint.answer.parse(value);
    }
  } catch (error) {
    if (signal.aborted) return;
    throw error instanceof Problem ? error : unreachable(error as NodeJS.ErrnoException, address);
  } finally {
    response?.destroy();
  }
}

async function* download(address: ConsoleAddress, endpoint: Endpoint, call: Call): AsyncGenerator<Buffer> {
  const response = await open(address, endpoint, call);
  if (response.statusCode !== 200) throw problemOf(response, await readAll(response));
  try {
    for await (const chunk of response) yield chunk as Buffer;
  } catch (error) {
    throw error instanceof Problem ? error : incompleteResponse(error);
  } finally {
    response.destroy();
  }
}

function open(address: ConsoleAddress, endpoint: Endpoint, call: Call): Promise<IncomingMessage> {
  const body = call.body === undefined ? undefined : JSON.stringify(call.body);
  const options = {
    method: endpoint.method,
    path: pathOf(endpoint, call),
    agent: false, // a connection of its own: nothing to pool for the few calls of a command
    ...(call.signal !== undefined && { signal: call.signal }),
    headers: {
      accept: endpoint.mediaType ?? 'application/json',
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
      const headers = { ...options.headers, authorization: `Bearer ${address.operatorKey}` };
      request = httpsRequest({ ...options, host, port, ...localhostLookup(host), ca: address.ca, headers }, resolve);
    }
    if (endpoint.stream !== 'lines') {
      request.setTimeout(ANSWER_TIMEOUT_MS, () => {
        request.destroy(
          new Problem('unavailable', { detail: `the server did not answer in ${ANSWER_TIMEOUT_MS / 1000} s` }),
        );
      });
    }
    request.once('error', (error) => reject(error instanceof Problem ? error : unreachable(error, address)));
    request.end(body);
  });
}

function pathOf(endpoint: Endpoint, { params, query }: Call): string {
  const path = endpoint.path.replace(/:([a-z]+)/g, (_, name: string) => encodeURIComponent(params[name] ?? ''));
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
  return search.size === 0 ? path : `${path}?${search}`;
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer);
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw incompleteResponse(error);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function incompleteResponse(cause: unknown): Problem {
  return new Problem('server_unreachable', { detail: 'the server hung up before its answer was complete', cause });
}

/** Only a line feed ends a line: JSON text may hold U+2028, which node:readline would cut at. */
async function* lines(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8');
  let rest = '';
  for await (const chunk of response) {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() as string;
    yield* parts;
  }
}

/** A day: a longer one is no answer of this server. */
const MAX_RETRY_AFTER_S = 86_400;

function problemOf(response: IncomingMessage, text: string): Problem {
  const problem = problemView.safeParse(parseJson(text));
  const retryAfter = parseDecimal(response.headers['retry-after'], 1, MAX_RETRY_AFTER_S);
  if (problem.success) {
    const { code, detail } = problem.data;
    return new Problem(codeOf(code), { detail, ...(retryAfter !== undefined && { retryAfter }) });
  }
  return new Problem('internal', { reason: `expected a problem document, found status ${response.statusCode}` });
}

function codeOf(text: string): Problem['code'] {
  return isProblemCode(text) ? text : 'internal';
}

/** Of a connection to a server that is there: it was closed before the answer, or waits to be accepted. */
const CLOSED_BY_SERVER: ReadonlySet<string | undefined> = new Set(['ECONNRESET', 'EPIPE', 'EAGAIN']);

function unreachable(error: NodeJS.ErrnoException, address: ConsoleAddress): Problem {
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
  return new Problem('server_unreachable', {
    reason: `${where}: ${error.code ?? error.message}`,
    hint: notOurs
      ? 'the socket opens to the user that runs the server only'
      : 'start one with "rollcall serve", or say where it runs with --data DIR or --socket PATH',
    cause: error,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
