/**
 * Authenticates operators by the listener that accepted the request. The unix socket is protected by its file permissions.
 * The TCP listener requires the operator key, or for metrics the metrics key, and a Host header that names this console, which
 * stops DNS rebinding by web pages. Knows of a route only the access that it declares.
 */

import type { IncomingMessage } from 'node:http';
import { canonicalHost, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { networkOf, type RefusalLog, TokenBuckets } from '../limits/index.ts';
import type { Actor } from '../registry/index.ts';
import type { Access } from './api/endpoint.ts';
import type { BearerKey } from './bearer-key.ts';

export type ListenerKind = 'unix' | 'tcp';

export interface AccessOptions {
  readonly key: BearerKey;
  /** Admits to endpoints with access `metrics` and to nothing else. */
  readonly metricsKey: BearerKey;
  /** Names and addresses that a Host header may contain beside those of loopback. */
  readonly hosts: readonly string[];
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}

const BEARER = /^Bearer +([A-Za-z0-9_-]{1,128})$/i;
/** Per address: a burst of ten wrong keys, and one more every six seconds. */
const FAILURES = { perSecond: 1 / 6, burst: 10, keys: 1_000 };

export class AccessControl {
  readonly #key: BearerKey;
  readonly #metricsKey: BearerKey;
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
    this.#hosts = new Set(['localhost', '127.0.0.1', '::1', ...options.hosts.map(hostText)]);
    this.#log = options.log;
    this.#refusalLog = options.refusalLog;
    this.#now = options.now;
  }

  setListener(request: IncomingMessage, listener: ListenerKind): void {
    this.#listeners.set(request, listener);
  }

  /** The actor for audit entries. Problem `request_invalid`, `operator_required` or `rate_limited` when refused. */
  admit(request: IncomingMessage, access: Access): Actor {
    if (this.#listeners.get(request) === 'unix') return 'operator/unix';
    if (access === 'probe') return 'operator/unknown';
    this.#expectOwnHost(request);
    if (access === 'anyone') return 'operator/unknown';
    return this.#expectKey(request, access);
  }

  #expectOwnHost(request: IncomingMessage): void {
    const host = (request.headers.host ?? '').replace(/:\d{1,5}$/, '');
    if (this.#hosts.has(hostText(host))) return;
    const address = request.socket.remoteAddress ?? 'unknown';
    this.#refusalLog.write(this.#log, 'warn', address, { address }, 'foreign host header refused');
    throw new Problem('request_invalid', { detail: 'expected a Host header that names this console' });
  }

  #expectKey(request: IncomingMessage, access: Access): Actor {
    const presented = BEARER.exec(request.headers.authorization ?? '')?.[1];
    // The right key is accepted even while wrong keys from the same address are limited.
    if (presented !== undefined) {
      if (this.#key.matches(presented)) return 'operator/key';
      if (access === 'metrics' && this.#metricsKey.matches(presented)) return 'operator/metrics-key';
    }
    const address = request.socket.remoteAddress ?? 'unknown';
    const wait = this.#failures.take(networkOf(address), this.#now());
    if (wait > 0) throw new Problem('rate_limited', { retryAfter: Math.ceil(wait) });
    const fields = { address, presented: presented !== undefined };
    this.#refusalLog.write(this.#log, 'warn', address, fields, 'operator key refused');
    throw new Problem('operator_required');
  }
}

/** Canonical form of a configured host and of a Host header. */
function hostText(host: string): string {
  return canonicalHost(host) ?? host.toLowerCase();
}
