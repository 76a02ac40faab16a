/**
 * The client of the HTTP API in the browser. Requests are typed by the server's own table of endpoints, by a type import that
 * leaves nothing in the bundle. The session is a cookie that scripts cannot read; its CSRF token is sent with each request.
 */

import type { Answer, Endpoint, Sent } from '../api/endpoint.ts';
import type { endpoints } from '../endpoints.ts';

type Table = (typeof endpoints)[keyof typeof endpoints];
/** Each endpoint by `METHOD /path`. */
type Routes = { [E in Table as `${E['method']} ${E['path']}`]: E };
export type Route = keyof Routes;
export type AnswerOf<R extends Route> = Answer<Routes[R]>;

type PartOf<E extends Endpoint, P extends 'params' | 'query' | 'body'> =
  E extends Record<P, infer _S>
    ? Record<string, never> extends Sent<E, P>
      ? { readonly [K in P]?: Sent<E, P> }
      : { readonly [K in P]: Sent<E, P> }
    : unknown;

export type RequestOf<R extends Route> = PartOf<Routes[R], 'params'> &
  PartOf<Routes[R], 'query'> &
  PartOf<Routes[R], 'body'> & {
    /** The entity tag that the change expects. */
    readonly ifMatch?: string;
    /** The same for each attempt of one act, so that a repeated attempt acts once. */
    readonly idempotencyKey?: string;
    readonly signal?: AbortSignal;
  };

type Arguments<R extends Route> =
  Record<string, never> extends RequestOf<R> ? [request?: RequestOf<R>] : [request: RequestOf<R>];

/** A problem document (RFC 9457), or a failure of the network under the code `unreachable`. */
export class ApiProblem extends Error {
  readonly code: string;
  readonly status: number;
  /** Seconds. */
  readonly retryAfter: number | undefined;

  constructor(code: string, status: number, message: string, retryAfter?: number) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export interface Page<T> {
  readonly value: T;
  /** Path and query of the next page; undefined on the last one. */
  readonly next: string | undefined;
  readonly etag: string | undefined;
}

interface Session {
  readonly csrfToken: () => string | undefined;
  /** The session ended or there is none. */
  readonly signedOut: () => void;
  /** Resolves with true once the operator authenticated again. */
  readonly authenticateAgain: () => Promise<boolean>;
}

let session: Session = { csrfToken: () => undefined, signedOut: () => {}, authenticateAgain: async () => false };

export function connectSession(connected: Session): void {
  session = connected;
}

/** The answer of an endpoint. Throws `ApiProblem`. */
export async function api<R extends Route>(route: R, ...[request]: Arguments<R>): Promise<AnswerOf<R>> {
  return (await apiPage(route, ...([request] as unknown as Arguments<R>))).value;
}

/** The same, with the link to the next page and the entity tag. */
export async function apiPage<R extends Route>(route: R, ...[request]: Arguments<R>): Promise<Page<AnswerOf<R>>> {
  const parts = (request ?? {}) as UncheckedRequest;
  const [method, path] = route.split(' ', 2) as [string, string];
  return send(method, urlOf(path, parts), parts);
}

/** A page by the link of the one before it. */
export function nextPage<R extends Route>(_route: R, link: string, signal?: AbortSignal): Promise<Page<AnswerOf<R>>> {
  return send('GET', link, signal === undefined ? {} : { signal });
}

interface UncheckedRequest {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
  readonly ifMatch?: string;
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

export function urlOf(path: string, { params = {}, query = {} }: UncheckedRequest): string {
  const filled = path.replace(/:([a-z]+)/gi, (_, name: string) => encodeURIComponent(params[name] ?? ''));
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) search.append(name, String(one));
  }
  return search.size === 0 ? filled : `${filled}?${search}`;
}

async function send<T>(method: string, url: string, request: UncheckedRequest): Promise<Page<T>> {
  const csrf = session.csrfToken();
  const { ifMatch, idempotencyKey, signal } = request;
  const response = await fetch(url, {
    method,
    credentials: 'same-origin',
    headers: {
      accept: 'application/json',
      ...(method !== 'GET' && { 'content-type': 'application/json' }),
      ...(csrf !== undefined && { 'x-csrf-token': csrf }),
      ...(ifMatch !== undefined && { 'if-match': ifMatch }),
      ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
    },
    ...(method !== 'GET' && { body: JSON.stringify(request.body ?? {}) }),
    ...(signal !== undefined && { signal }),
  }).catch((error: unknown) => {
    if (signal?.aborted === true) throw error;
    throw new ApiProblem('unreachable', 0, 'The server does not answer.');
  });
  if (response.ok) return pageOf(response);
  const problem = await problemOf(response);
  if (problem.code === 'reauthentication_required' && (await session.authenticateAgain()))
    return send(method, url, request);
  if (problem.code === 'operator_required') session.signedOut();
  throw problem;
}

async function pageOf<T>(response: Response): Promise<Page<T>> {
  return {
    value: (await response.json()) as T,
    next: /<([^>]+)>; rel="next"/.exec(response.headers.get('link') ?? '')?.[1],
    etag: response.headers.get('etag') ?? undefined,
  };
}

async function problemOf(response: Response): Promise<ApiProblem> {
  const seconds = /^\d{1,9}$/.exec(response.headers.get('retry-after') ?? '')?.[0];
  const retryAfter = seconds === undefined ? undefined : Number(seconds);
  const { code, detail, title } = ((await response.json().catch(() => ({}))) ?? {}) as Readonly<
    Record<string, unknown>
  >;
  const text = String(detail ?? title ?? `The server answered with ${response.status}.`);
  return new ApiProblem(String(code ?? 'unknown'), response.status, text, retryAfter);
}
