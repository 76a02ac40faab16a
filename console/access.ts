/**
 * Authenticates operators by the listener that accepted the request, and compares their role with the one that the route
 * needs. The unix socket is protected by its file permissions. The TCP listener requires an API key, the operator key, or the
 * cookie of an operator who signed in, a certificate of an operator, or for metrics the metrics key, and a Host header that names this console, which stops DNS
 * rebinding by web pages. With an Authorization header the cookie is ignored. Knows of a route only what it declares.
 */

import type { IncomingMessage } from 'node:http';
import { canonicalHost, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { networkOf, type RefusalLog, TokenBuckets } from '../limits/index.ts';
import { type Actor, isRoleWithin, type OperatorRole, type Registry, type RequestOrigin } from '../registry/index.ts';
import type { Access } from './api/endpoint.ts';
import { parseApiKey } from './api-key.ts';
import { isOfBrowser, type OperatorCertificates } from './auth/operator-certificates.ts';
import { foreignOrigin } from './auth/same-origin.ts';
import { admitSession } from './auth/session-admission.ts';
import type { BearerKey } from './bearer-key.ts';

export type ListenerKind = 'unix' | 'tcp';

/** Who sends a request, and what they may do. */
export interface Admission {
  /** For audit entries. */
  readonly actor: Actor;
  /** Undefined without a proof of who it is. */
  readonly role: OperatorRole | undefined;
  /** For the details of audit entries; undefined on the unix socket. */
  readonly origin?: RequestOrigin;
  /** Of an API key. */
  readonly apiKey?: {
    readonly id: string;
    readonly operator: string;
    /** Milliseconds since the epoch. */
    readonly expiresAt: number;
  };
  /** Of an operator who signed in. */
  readonly session?: SignedIn;
  /** Of a client certificate. */
  readonly certificate?: { readonly operator: string; readonly expiresAt: number };
}

export interface SignedIn {
  readonly id: string;
  readonly operator: string;
  readonly method: string;
  /** Milliseconds since the epoch. */
  readonly authenticatedAt: number;
  /** Milliseconds since the epoch; earlier without requests. */
  readonly expiresAt: number;
  /** Authenticated in the last five minutes. */
  readonly isRecent: boolean;
  /** For changes, in the header `x-csrf-token`. */
  readonly csrfToken: string;
}

/** What a route declares. */
export interface Requirements {
  readonly access: Access;
  /** A session must have authenticated in the last five minutes. Keys and the unix socket need no more. */
  readonly needsRecentSignIn: boolean;
}

export interface AccessOptions {
  readonly key: BearerKey;
  /** Admits to endpoints with access `metrics` and to nothing else. */
  readonly metricsKey: BearerKey;
  readonly registry: Pick<Registry, 'admitOperator' | 'admitOperatorSession'>;
  /** Names and addresses that a Host header may contain beside those of loopback. */
  readonly hosts: readonly string[];
  /** Undefined: the listener asks for no client certificate. */
  readonly certificates?: OperatorCertificates | undefined;
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}

const UNIX: Admission = { actor: 'operator/unix', role: 'admin' };
const NOBODY: Admission = { actor: 'operator/unknown', role: undefined };
/** A client with the metrics key, on an endpoint that accepts it. */
const METRICS_READER: Admission = { actor: 'operator/metrics-key', role: undefined };
const BEARER = /^Bearer +([A-Za-z0-9_-]{1,128})$/i;
/** Per address: a burst of ten wrong keys, and one more every six seconds. */
const FAILURES = { perSecond: 1 / 6, burst: 10, keys: 1_000 };

export class AccessControl {
  readonly #key: BearerKey;
  readonly #metricsKey: BearerKey;
  readonly #registry: AccessOptions['registry'];
  readonly #certificates: OperatorCertificates | undefined;
  readonly #hosts: ReadonlySet<string>;
  readonly #log: Logger;
  readonly #refusalLog: RefusalLog;
  readonly #now: () => number;
  readonly #failures = new TokenBuckets(FAILURES);
  /** Set by the listener that accepted the request, never from what the client sent. */
  readonly #listeners = new WeakMap<IncomingMessage, ListenerKind>();

  constructor(options: AccessOptions) {
    this.#key = options.key;
    this.#metricsKey = options.metricsKey;
    this.#registry = options.registry;
    this.#certificates = options.certificates;
    this.#hosts = new Set(['localhost', '127.0.0.1', '::1', ...options.hosts.map(hostText)]);
    this.#log = options.log;
    this.#refusalLog = options.refusalLog;
    this.#now = options.now;
  }

  setListener(request: IncomingMessage, listener: ListenerKind): void {
    this.#listeners.set(request, listener);
  }

  /**
   * Problem `request_invalid`, `operator_required`, `cross_site_refused`, `session_required`, `role_insufficient`,
   * `reauthentication_required` or `rate_limited` when refused.
   */
  async admit(request: IncomingMessage, { access, needsRecentSignIn }: Requirements): Promise<Admission> {
    if (this.#listeners.get(request) === 'unix') {
      if (access === 'session') throw new Problem('session_required');
      return UNIX;
    }
    if (access === 'probe') return NOBODY;
    this.#expectOwnHost(request);
    if (access === 'anyone') {
      expectOwnPageForChange(request);
      return NOBODY;
    }
    const admission = await this.#authenticate(request, access);
    this.#expectRole(request, admission, access);
    if (needsRecentSignIn) expectRecentSignIn(admission);
    return admission;
  }

  /** Who a request of access `anyone` comes from, if it says so. Problem `operator_required` or `rate_limited` for a wrong key. */
  async identify(request: IncomingMessage): Promise<Admission | undefined> {
    if (this.#listeners.get(request) === 'unix') return UNIX;
    if (request.headers.authorization === undefined) return this.#sessionOf(request);
    return this.#authenticate(request, 'viewer');
  }

  #expectRole(request: IncomingMessage, admission: Admission, access: Access): void {
    if (access === 'session') {
      if (admission.session === undefined) throw new Problem('session_required');
      return;
    }
    const needed = access === 'metrics' ? 'viewer' : (access as OperatorRole);
    if (admission === METRICS_READER || (admission.role !== undefined && isRoleWithin(needed, admission.role))) {
      return;
    }
    const address = addressOf(request);
    const fields = { address, actor: admission.actor, role: admission.role, needed };
    this.#refusalLog.write(this.#log, 'warn', address, fields, 'operator role insufficient');
    throw new Problem('role_insufficient', { detail: `this needs the role ${needed}` });
  }

  #expectOwnHost(request: IncomingMessage): void {
    const host = (request.headers.host ?? '').replace(/:\d{1,5}$/, '');
    if (this.#hosts.has(hostText(host))) return;
    const address = addressOf(request);
    this.#refusalLog.write(this.#log, 'warn', address, { address }, 'foreign host header refused');
    throw new Problem('request_invalid', { detail: 'expected a Host header that names this console' });
  }

  async #authenticate(request: IncomingMessage, access: Access): Promise<Admission> {
    const address = addressOf(request);
    const { authorization } = request.headers;
    if (authorization === undefined) {
      const admission = (await this.#sessionOf(request)) ?? (await this.#certifiedOf(request));
      if (admission !== undefined) return admission;
      throw this.#refused(address, 'operator not authenticated');
    }
    const presented = BEARER.exec(authorization)?.[1];
    // The right key is accepted even while wrong keys from the same address are limited.
    if (presented !== undefined) {
      const admission = await this.#admissionOf(presented, address);
      if (admission !== undefined) return admission;
      if (access === 'metrics' && this.#metricsKey.matches(presented)) return METRICS_READER;
    }
    const wait = this.#failures.take(networkOf(address), this.#now());
    if (wait > 0) throw new Problem('rate_limited', { retryAfter: Math.ceil(wait) });
    throw this.#refused(address, 'operator key refused');
  }

  #refused(address: string, message: string): Problem {
    this.#refusalLog.write(this.#log, 'warn', address, { address }, message);
    return new Problem('operator_required');
  }

  #sessionOf(request: IncomingMessage): Promise<Admission | undefined> {
    return admitSession(request, addressOf(request), { registry: this.#registry, now: this.#now });
  }

  async #certifiedOf(request: IncomingMessage): Promise<Admission | undefined> {
    if (this.#certificates === undefined || isOfBrowser(request)) return undefined;
    const found = await this.#certificates.find(request);
    if (found === undefined) return undefined;
    const { operator, role, serial: certificate, expiresAt } = found;
    return {
      actor: `operator/${operator}`,
      role,
      origin: { apiKey: undefined, certificate, address: addressOf(request) },
      certificate: { operator, expiresAt },
    };
  }

  async #admissionOf(presented: string, address: string): Promise<Admission | undefined> {
    const apiKey = parseApiKey(presented);
    if (apiKey === undefined) {
      if (!this.#key.matches(presented)) return undefined;
      return { actor: 'operator/key', role: 'admin', origin: { apiKey: undefined, address } };
    }
    const admitted = await this.#registry.admitOperator(apiKey);
    if (admitted === undefined) return undefined;
    const { operator, role, keyId: id, expiresAt } = admitted;
    return {
      actor: `operator/${operator}`,
      role,
      origin: { apiKey: id, address },
      apiKey: { id, operator, expiresAt },
    };
  }
}

/** For routes of access `session`: problem `session_required`, which that access excludes. */
export function expectSession({ session }: Admission): SignedIn {
  if (session === undefined) throw new Problem('session_required');
  return session;
}

/** For handlers, where it depends on the request: problem `reauthentication_required`. */
export function expectRecentSignIn({ session }: Admission): void {
  if (session !== undefined && !session.isRecent) throw new Problem('reauthentication_required');
}

/** So that no other site signs a browser in or out. */
function expectOwnPageForChange(request: IncomingMessage): void {
  if (request.method === 'GET' || request.method === 'HEAD') return;
  const reason = foreignOrigin(request);
  if (reason !== undefined) throw new Problem('cross_site_refused', { reason });
}

export function addressOf(request: IncomingMessage): string {
  return request.socket.remoteAddress ?? 'unknown';
}

/** Canonical form of a configured host and of a Host header. */
function hostText(host: string): string {
  return canonicalHost(host) ?? host.toLowerCase();
}
