/**
 * Speaks to a running console, as the command line does: over its unix socket, or over HTTPS with the operator key.
 * Its types come from the table of endpoints. Problem answers are thrown as `Problem`; no server is `server_unreachable`.
 */

import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { PolicyScope } from '../contract/policy.ts';
import { isProblemCode, Problem } from '../contract/problem.ts';
import { type Answer, type Endpoint, endpoints, type Sent } from './endpoints.ts';
import { problemView } from './schemas.ts';

type Endpoints = typeof endpoints;
type Body<Name extends keyof Endpoints> = NonNullable<Sent<Endpoints[Name], 'body'>>;
type Query<Name extends keyof Endpoints> = NonNullable<Sent<Endpoints[Name], 'query'>>;
type Reply<Name extends keyof Endpoints> = Promise<Answer<Endpoints[Name]>>;

export type ConsoleAddress =
  | { readonly socketPath: string }
  | {
      /** `https://host:port`. */
      readonly url: string;
      readonly operatorKey: string;
      /** PEM of the root to trust. */
      readonly ca: string;
    };

/** Every method throws `Problem`: the server's own, `server_unreachable`, or `unavailable` when it does not answer. */
export interface ConsoleClient {
  mintToken(order: Body<'mintToken'>): Reply<'mintToken'>;
  listTokens(): Reply<'listTokens'>;
  voidToken(id: string): Reply<'voidToken'>;
  listDevices(filter?: Query<'listDevices'>): Reply<'listDevices'>;
  showDevice(id: string): Reply<'showDevice'>;
  revokeDevices(order: Body<'revokeDevices'>): Reply<'revokeDevices'>;
  issueService(order: Body<'issueService'>): Reply<'issueService'>;
  listServices(): Reply<'listServices'>;
  revokeService(name: string, order?: Body<'revokeService'>): Reply<'revokeService'>;
  showPolicy(scope: PolicyScope): Reply<'showPolicy'>;
  setPolicy(scope: PolicyScope, policy: Body<'setPolicy'>): Reply<'setPolicy'>;
  explainPolicy(order: Body<'explainPolicy'>): Reply<'explainPolicy'>;
  queryTelemetry(query: Query<'queryTelemetry'>): Reply<'queryTelemetry'>;
  lastTelemetry(device?: string): Reply<'lastTelemetry'>;
  seriesTelemetry(query: Query<'seriesTelemetry'>): Reply<'seriesTelemetry'>;
  /** The text as it arrives, in pieces of any length; throws when it is cut off before its end. */
  exportTelemetry(query?: Query<'exportTelemetry'>): AsyncIterable<Buffer>;
  telemetryStats(): Reply<'telemetryStats'>;
  pruneTelemetry(order?: Body<'pruneTelemetry'>): Reply<'pruneTelemetry'>;
  /** Messages accepted from now on, until the signal; throws `unavailable` when this reader is dropped as too slow. */
  followTelemetry(device?: string, signal?: AbortSignal): AsyncIterable<Answer<Endpoints['followTelemetry']>>;
  listAudit(page?: Query<'listAudit'>): Reply<'listAudit'>;
  listSessions(): Reply<'listSessions'>;
  health(): Reply<'health'>;
  /** PEM. */
  trustBundle(): Reply<'trustBundle'>;
  metrics(): Reply<'metrics'>;
  describeApi(): Reply<'describeApi'>;
  /** Ends followers. Other calls hold nothing open. */
  close(): Promise<void>;
}

const SILENCE_MS = 120_000;

interface Call {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string | number | undefined>> | undefined;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

export function openConsoleClient(address: ConsoleAddress): ConsoleClient {
  const closed = new AbortController();
  const ask = <Name extends keyof Endpoints>(name: Name, call: Call = {}) =>
    fetchAnswer(address, endpoints[name], call);

  return {
    mintToken: (body) => ask('mintToken', { body }),
    listTokens: () => ask('listTokens'),
    voidToken: (id) => ask('voidToken', { params: { id } }),
    listDevices: (query) => ask('listDevices', { query: query as Call['query'] }),
    showDevice: (id) => ask('showDevice', { params: { id } }),
    revokeDevices: (body) => ask('revokeDevices', { body }),
    issueService: (body) => ask('issueService', { body }),
    listServices: () => ask('listServices'),
    revokeService: (name, body) => ask('revokeService', { params: { name }, body }),
    showPolicy: (scope) => ask('showPolicy', { params: scopeParams(scope) }),
    setPolicy: (scope, body) => ask('setPolicy', { params: scopeParams(scope), body }),
    explainPolicy: (body) => ask('explainPolicy', { body }),
    queryTelemetry: (query) => ask('queryTelemetry', { query: query as Call['query'] }),
    lastTelemetry: (device) => ask('lastTelemetry', { query: { device } }),
    seriesTelemetry: (query) => ask('seriesTelemetry', { query: query as Call['query'] }),
    exportTelemetry: (query) => download(address, endpoints.exportTelemetry, { query: query as Call['query'] }),
    telemetryStats: () => ask('telemetryStats'),
    pruneTelemetry: (body) => ask('pruneTelemetry', { body }),
    followTelemetry: (device, signal) =>
      follow(address, device, AbortSignal.any(signal === undefined ? [closed.signal] : [closed.signal, signal])),
    listAudit: (query) => ask('listAudit', { query: query as Call['query'] }),
    listSessions: () => ask('listSessions'),
    health: () => ask('health'),
    trustBundle: () => ask('trustBundle'),
    metrics: () => ask('metrics'),
    describeApi: () => ask('describeApi'),
    close: async () => closed.abort(),
  };
}

async function fetchAnswer<E extends Endpoint>(address: ConsoleAddress, endpoint: E, call: Call): Promise<Answer<E>> {
  const response = await open(address, endpoint, call);
  const text = await readAll(response);
  if (response.statusCode !== 200) throw problemOf(response, text);
  const value: unknown = endpoint.mediaType === undefined ? parseJson(text) : text;
  const checked = endpoint.answer.safeParse(value);
  if (checked.success) return checked.data as Answer<E>;
  throw new Problem('internal', { reason: `answer of ${endpoint.path} has another shape: ${checked.error.message}` });
}

async function* follow(
  address: ConsoleAddress,
  device: string | undefined,
  signal: AbortSignal,
): AsyncGenerator<Answer<Endpoints['followTelemetry']>> {
  const endpoint = endpoints.followTelemetry;
  let response: IncomingMessage | undefined;
  try {
    response = await open(address, endpoint, { query: { device }, signal });
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
    throw error instanceof Problem ? error : cutOff(error);
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
      const { hostname, port } = new URL(address.url);
      const host = hostname.replace(/^\[(.*)\]$/, '$1');
      const headers = { ...options.headers, authorization: `Bearer ${address.operatorKey}` };
      request = httpsRequest({ ...options, host, port, ca: address.ca, headers }, resolve);
    }
    if (endpoint !== endpoints.followTelemetry) {
      request.setTimeout(SILENCE_MS, () => {
        request.destroy(new Problem('unavailable', { detail: `the server did not answer in ${SILENCE_MS / 1000} s` }));
      });
    }
    request.once('error', (error) => reject(error instanceof Problem ? error : unreachable(error, address)));
    request.end(body);
  });
}

function pathOf(endpoint: Endpoint, { params = {}, query = {} }: Call): string {
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
    throw cutOff(error);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function cutOff(cause: unknown): Problem {
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

function problemOf(response: IncomingMessage, text: string): Problem {
  const problem = problemView.safeParse(parseJson(text));
  const retryAfter = Number(response.headers['retry-after']);
  if (problem.success) {
    const { code, detail } = problem.data;
    return new Problem(codeOf(code), { detail, ...(retryAfter > 0 && { retryAfter }) });
  }
  return new Problem('internal', { reason: `expected a problem document, found status ${response.statusCode}` });
}

function codeOf(text: string): Problem['code'] {
  return isProblemCode(text) ? text : 'internal';
}

function unreachable(error: NodeJS.ErrnoException, address: ConsoleAddress): Problem {
  const where = 'socketPath' in address ? address.socketPath : address.url;
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

function scopeParams(scope: PolicyScope): { readonly kind: string; readonly name: string } {
  const slash = scope.indexOf('/');
  return { kind: scope.slice(0, slash), name: scope.slice(slash + 1) };
}
