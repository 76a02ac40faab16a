/**
 * Who may use the console: by which door a request came and what it must show there. The unix socket is guarded by its
 * file permissions; the TCP door wants the operator key, and a Host header that is its own, so that a web page whose name
 * was rebound to this machine cannot speak to it. Does not know routes beyond the access that each declares.
 */

import type { IncomingMessage } from 'node:http';
import { canonicalHost, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { networkOf, type RefusalLog, TokenBuckets } from '../limits/index.ts';
import type { Actor } from '../registry/index.ts';
import type { Access } from './api/endpoint.ts';
import type { OperatorKey } from './operator-key.ts';

export type ListenerKind = 'unix' | 'tcp';

export interface AccessOptions {
  readonly key: OperatorKey;
  /** Names and addresses that a Host header may hold beside those of loopback. */
  readonly hosts: readonly string[];
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}

const BEARER = /^Bearer +([A-Za-z0-9_-]{1,128})$/i;
/** Ten wrong keys at once and one more every six seconds, per address: it bounds guessing. */
const FAILURES = { perSecond: 1 / 6, burst: 10, keys: 1_000 };

export class AccessControl {
  readonly #key: OperatorKey;
  readonly #hosts: ReadonlySet<string>;
  readonly #log: Logger;
  readonly #refusalLog: RefusalLog;
  readonly #now: () => number;
  readonly #failures = new TokenBuckets(FAILURES);
  /** Set by the listener that accepted the request: nothing a client sends can say by which door it came. */
  readonly #doors = new WeakMap<IncomingMessage, ListenerKind>();

  constructor(options: AccessOptions) {
    this.#key = options.key;
    this.#hosts = new Set(['localhost', '127.0.0.1', '::1', ...options.hosts.map(hostText)]);
    this.#log = options.log;
    this.#refusalLog = options.refusalLog;
    this.#now = options.now;
  }

  setListener(request: IncomingMessage, door: ListenerKind): void {
    this.#doors.set(request, door);
  }

  /** The actor for audit entries. Problem `request_invalid`, `operator_required` or `rate_limited` when refused. */
  admit(request: IncomingMessage, access: Access): Actor {
    if (this.#doors.get(request) === 'unix') return 'operator/unix';
    this.#expectOwnHost(request);
    if (access === 'anyone') return 'operator/unknown';
    this.#expectKey(request);
    return 'operator/key';
  }

  #expectOwnHost(request: IncomingMessage): void {
    const host = (request.headers.host ?? '').replace(/:\d{1,5}$/, '');
    if (this.#hosts.has(hostText(host))) return;
    const address = request.socket.remoteAddress ?? 'unknown';
    this.#refusalLog.write(this.#log, 'warn', address, { address }, 'foreign host header refused');
    throw new Problem('request_invalid', { detail: 'expected a Host header that names this console' });
  }

  #expectKey(request: IncomingMessage): void {
    const presented = BEARER.exec(request.headers.authorization ?? '')?.[1];
    // Wrong keys of another process on this machine must not lock out operators who have the right one.
    if (presented !== undefined && this.#key.matches(presented)) return;
    const address = request.socket.remoteAddress ?? 'unknown';
    const wait = this.#failures.take(networkOf(address), this.#now());
    if (wait > 0) throw new Problem('rate_limited', { retryAfter: Math.ceil(wait) });
    const fields = { address, presented: presented !== undefined };
    this.#refusalLog.write(this.#log, 'warn', address, fields, 'operator key refused');
    throw new Problem('operator_required');
  }
}

/** One form for settings and Host headers; a header that names no host names none of ours. */
function hostText(host: string): string {
  return canonicalHost(host) ?? host.toLowerCase();
}
