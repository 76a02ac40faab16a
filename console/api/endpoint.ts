/** The type of an endpoint's description, and the types derived from it. */

import type { z } from 'zod';
import type { OperatorRole } from '../../registry/index.ts';

/**
 * The least role that may call it; the unix socket and the operator key have the role admin. `session`: an operator who signed
 * in, of any role. `metrics`: the role viewer, or the metrics key. `anyone`: who can reach the listener. `probe`: the same under any Host header, because a probe names an
 * address; its answer says nothing that a web page could use.
 */
export type Access = OperatorRole | 'session' | 'metrics' | 'anyone' | 'probe';

export interface Endpoint {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** `:name` stands for a parameter. */
  readonly path: `/${string}`;
  readonly access: Access;
  readonly summary: string;
  /**
   * An operator who signed in must have authenticated in the last five minutes: always, or only for more than one device, which the
   * handler decides.
   */
  readonly recentSignIn?: 'always' | 'several devices';
  readonly params?: z.ZodType;
  /** Of GET and DELETE, which have no body. */
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  /** Of a method other than GET that changes nothing: a dry run, a question with a body. */
  readonly isQuestion?: boolean;
  /** Headers that the endpoint reads, in lower case; others pass. */
  readonly headers?: z.ZodType;
  /** The answer of GET has an entity tag, and a change at the same path compares `If-Match` with it. */
  readonly isTagged?: boolean;
  /** The whole answer; with `stream: 'lines'` each of its lines. */
  readonly answer: z.ZodType;
  /** Of the answer; JSON unless said otherwise. */
  readonly mediaType?: string;
  /** `bytes`: of any length, to be read in pieces. `lines`: JSON, one value a line, for as long as the reader stays. */
  readonly stream?: 'bytes' | 'lines';
}

/**
 * Whether a request changes something, and so may be under an idempotency key. Signing in and what a session changes of its own may not: a
 * replayed answer would have no cookie.
 */
export function isAct({ method, access, isQuestion = false }: Endpoint): boolean {
  return method !== 'GET' && !isQuestion && access !== 'anyone' && access !== 'session';
}

type Part = 'params' | 'query' | 'body';

/** A part as the caller writes it, defaults left out. */
export type Sent<E extends Endpoint, P extends Part> =
  E extends Record<P, infer S extends z.ZodType> ? z.input<S> : unknown;

/** A part as the server sees it, checked and with defaults. */
export type Checked<E extends Endpoint, P extends Part> =
  E extends Record<P, infer S extends z.ZodType> ? z.output<S> : undefined;

export type Answer<E extends Endpoint> = z.output<E['answer']>;
