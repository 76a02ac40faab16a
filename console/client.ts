/**
 * Client of a running console, as the command line uses it. Its methods and their types come from the table of endpoints.
 * Problem answers are thrown as `Problem`; without a server it throws `server_unreachable`. What changes something is sent
 * under an idempotency key, and again when the connection ends before the answer.
 */

import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isProblemCode, Problem, parseDecimal } from '@rollcall/protocol';
import { type Answer, type Endpoint, isAct, type Sent } from './api/endpoint.ts';
import { problemView } from './api/schemas.ts';
import { endpoints } from './endpoints.ts';
import {
  type ConsoleAddress,
  incompleteAnswer,
  readAnswer,
  readLines,
  sendRequest,
  unreachable,
} from './http-request.ts';
import { repeatAct } from './repeat-act.ts';

export type { ConsoleAddress } from './http-request.ts';

type Endpoints = typeof endpoints;

/** The input of an endpoint in one object: its path parameters, and its query or its body. */
type Input<E extends Endpoint> = Sent<E, 'params'> & Sent<E, 'query'> & Sent<E, 'body'>;

/** An input without required fields may be omitted. */
type InputArguments<E extends Endpoint> = object extends Input<E> ? [input?: Input<E>] : [input: Input<E>];

type Method<E extends Endpoint> = E extends { readonly stream: 'lines' }
  ? (input?: Input<E>, signal?: AbortSignal) => AsyncIterable<Answer<E>>
  : E extends { readonly stream: 'bytes' }
    ? (input?: Input<E>) => AsyncIterable<Buffer>
    : (...input: InputArguments<E>) => Promise<Answer<E>>;

/**
 * A method for each endpoint, of its name. Every method throws `Problem`: the server's own, `server_unreachable`, or
 * `unavailable` when it does not answer. A stream of bytes throws when it ends early; a stream of lines continues until
 * its signal, and throws `unavailable` when the server drops this reader as too slow.
 */
export type ConsoleClient = { readonly [Name in keyof Endpoints]: Method<Endpoints[Name]> } & {
  /** Ends streams of lines, and calls that still wait for their answer. */
  close(): Promise<void>;
};

interface Call {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: unknown;
  readonly signal?: AbortSignal;
  readonly idempotencyKey?: string;
}

type AnyInput = Readonly<Record<string, unknown>>;

export function openConsoleClient(address: ConsoleAddress): ConsoleClient {
  const closed = new AbortController();
  const methodOf = (endpoint: Endpoint) => {
    if (endpoint.stream === 'bytes') return (input?: AnyInput) => download(address, endpoint, callOf(endpoint, input));
    if (endpoint.stream === 'lines') {
      return (input?: AnyInput, signal = closed.signal) =>
        follow(address, endpoint, callOf(endpoint, input), AbortSignal.any([closed.signal, signal]));
    }
    return (input?: AnyInput) => {
      const call = { ...callOf(endpoint, input), signal: closed.signal };
      if (!isAct(endpoint)) return fetchAnswer(address, endpoint, call);
      const act = { ...call, idempotencyKey: randomUUID() };
      return repeatAct(() => fetchAnswer(address, endpoint, act), closed.signal);
    };
  };
  const methods = Object.entries<Endpoint>(endpoints).map(([name, endpoint]) => [name, methodOf(endpoint)] as const);
  return { ...Object.fromEntries(methods), close: async () => closed.abort() } as unknown as ConsoleClient;
}

/** Separates path parameters from the query or body. */
function callOf(endpoint: Endpoint, input: AnyInput = {}): Call {
  const inPath = new Set([...endpoint.path.matchAll(/:([a-z]+)/g)].map(([, name]) => name as string));
  const [params, rest]: [Record<string, string>, Record<string, unknown>] = [{}, {}];
  for (const [name, value] of Object.entries(input)) {
    if (inPath.has(name)) params[name] = String(value);
    else rest[name] = value;
  }
  return endpoint.body === undefined ? { params, query: rest, body: undefined } : { params, query: {}, body: rest };
}

async function fetchAnswer(address: ConsoleAddress, endpoint: Endpoint, call: Call): Promise<unknown> {
  const response = await open(address, endpoint, call);
  const text = await readAnswer(response);
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
    if (response.statusCode !== 200) throw problemOf(response, await readAnswer(response));
    for await (const line of readLines(response)) {
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
  if (response.statusCode !== 200) throw problemOf(response, await readAnswer(response));
  try {
    for await (const chunk of response) yield chunk as Buffer;
  } catch (error) {
    throw error instanceof Problem ? error : incompleteAnswer(error);
  } finally {
    response.destroy();
  }
}

function open(address: ConsoleAddress, endpoint: Endpoint, call: Call): Promise<IncomingMessage> {
  return sendRequest(address, {
    method: endpoint.method,
    path: pathOf(endpoint, call),
    accept: endpoint.mediaType ?? 'application/json',
    body: call.body === undefined ? undefined : JSON.stringify(call.body),
    idempotencyKey: call.idempotencyKey,
    hasTimeout: endpoint.stream !== 'lines',
    signal: call.signal,
  });
}

function pathOf(endpoint: Endpoint, { params, query }: Call): string {
  const path = endpoint.path.replace(/:([a-z]+)/g, (_, name: string) => encodeURIComponent(params[name] ?? ''));
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const each of Array.isArray(value) ? value : [value]) search.append(name, String(each));
  }
  return search.size === 0 ? path : `${path}?${search}`;
}

/** One day: this server never sends a longer one. */
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

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
