/**
 * Who may use the console: by which door a request came and what it must show there. The unix socket is guarded by its
 * file permissions; the TCP door wants the operator key, and a Host header that is its own, so that a web page whose name
 * was rebound to this machine cannot speak to it. Does not know routes beyond the access that each declares.
 */

import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Logger } from 'pino';
import { Problem } from '../contract/problem.ts';
import type { Actor } from '../registry/registry.ts';
import type { Access } from './endpoints.ts';
import type { OperatorKey } from './operator-key.ts';

export type Door = 'unix' | 'tcp';

export interface AccessOptions {
  readonly key: OperatorKey;
  /** Names and addresses that a Host header may hold beside those of loopback. */
  readonly hosts: readonly string[];
  readonly now: () => number;
  readonly log: Logger;
}

const BEARER = /^Bearer +([A-Za-z0-9_-]{1,128})$/i;
const FAILURES_AT_ONCE = 10;
const MS_PER_FAILURE = 6_000;
const ADDRESSES_AT_MOST = 1_000;

export class AccessControl {
  readonly #key: OperatorKey;
  readonly #hosts: ReadonlySet<string>;
  readonly #log: Logger;
  readonly #failures: FailureLimit;
  /** Set by the listener that accepted the request: nothing a client sends can say by which door it came. */
  readonly #doors = new WeakMap<IncomingMessage, Door>();

  constructor(options: AccessOptions) {
    this.#key = options.key;
    this.#hosts = new Set(['localhost', '127.0.0.1', '[::1]', ...options.hosts.map(hostText)]);
    this.#log = options.log;
    this.#failures = new FailureLimit(options.now);
  }

  arrived(request: IncomingMessage, door: Door): void {
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
    const host = (request.headers.host ?? '').toLowerCase().replace(/:\d{1,5}$/, '');
    if (this.#hosts.has(host)) return;
    this.#log.warn({ address: request.socket.remoteAddress }, 'foreign host header refused');
    throw new Problem('request_invalid', { detail: 'expected a Host header that names this console' });
  }

  #expectKey(request: IncomingMessage): void {
    const presented = BEARER.exec(request.headers.authorization ?? '')?.[1];
    // The right key always opens: another process on this machine must not be able to lock operators out.
    if (presented !== undefined && this.#key.matches(presented)) return;
    const address = request.socket.remoteAddress ?? 'unknown';
    const retryAfter = this.#failures.count(address);
    if (retryAfter !== undefined) throw new Problem('rate_limited', { retryAfter });
    this.#log.warn({ address, presented: presented !== undefined }, 'operator key refused');
    throw new Problem('operator_required');
  }
}

/** As it stands in a Host header: lower case, an IPv6 address in brackets. */
function hostText(host: string): string {
  return isIP(host) === 6 ? `[${host.toLowerCase()}]` : host.toLowerCase();
}

/** Ten wrong keys at once and one more every six seconds, per address. What it bounds is the work and the log lines. */
class FailureLimit {
  readonly #now: () => number;
  readonly #fullAt = new Map<string, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Seconds to wait when this failure is one too many, otherwise undefined. */
  count(address: string): number | undefined {
    const now = this.#now();
    const fullAt = Math.max(now, this.#fullAt.get(address) ?? 0);
    const wait = fullAt + MS_PER_FAILURE - (now + FAILURES_AT_ONCE * MS_PER_FAILURE);
    if (wait > 0) return Math.ceil(wait / 1000);
    this.#fullAt.delete(address); // so that the map stays in the order of the latest failure
    this.#fullAt.set(address, fullAt + MS_PER_FAILURE);
    if (this.#fullAt.size > ADDRESSES_AT_MOST) this.#fullAt.delete(this.#fullAt.keys().next().value as string);
    return undefined;
  }
}
