/**
 * Lets a request in or not, by what its route declares and before its body is read. The budget of its address is spent
 * already; the limits here are on certificates to be issued. What a caller showed is kept for its route, and only there.
 */

import type { TLSSocket } from 'node:tls';
import { Problem } from '@rollcall/protocol';
import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { RateLimit, RefusalLog, WorkQueue } from '../../limits/index.ts';
import type { Counters } from '../counters.ts';
import {
  type CertificateHolder,
  type ClientCertificateDeps,
  checkClientCertificate,
  type RequiredStatus,
} from './client-certificate.ts';
import { type EnrollmentCredential, parseCredential } from './credential.ts';
import { routeAuthentication } from './route-authentication.ts';

export interface ClientAuthentication {
  /** The hook of every request; throws the Problem that sends it away. */
  authenticate(request: FastifyRequest): Promise<void>;
  /** What the caller of a `token` route showed. */
  credential(request: FastifyRequest): EnrollmentCredential;
  /** Who the caller of a `certificate` or `renewal` route is. */
  holder(request: FastifyRequest): CertificateHolder;
}

/** What waits is done in a second or two; whoever is sent away had better not come back with the next. */
const RETRY_OVERLOADED_S = 5;

export function createClientAuthentication(options: {
  readonly peers: ClientCertificateDeps;
  readonly enrollments: RateLimit;
  readonly renewals: RateLimit;
  /** Of all for whom a certificate is to be issued, which keeps the event loop for some milliseconds each. */
  readonly turns: WorkQueue;
  /** 0 up to 1; spreads the tries of those who were sent away together. */
  readonly random: () => number;
  readonly counts: Counters;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}): ClientAuthentication {
  const { enrollments, renewals, turns, random, counts, log, refusalLog } = options;
  const credentials = new WeakMap<FastifyRequest, EnrollmentCredential>();
  const holders = new WeakMap<FastifyRequest, CertificateHolder>();

  const takeTurn = async ({ raw: { socket } }: FastifyRequest): Promise<void> => {
    const entry = await turns.enter(() => socket.destroyed);
    if (entry === 'in') return;
    if (entry === 'gone') {
      counts.add('enroll_waiting_abandoned_total');
      throw new Problem('request_invalid', { reason: 'it went away while it waited' });
    }
    counts.add('enroll_overloaded_total');
    const retryAfter = Math.ceil(RETRY_OVERLOADED_S * (1 + random()));
    throw new Problem('rate_limited', { retryAfter, reason: 'too many requests are waiting' });
  };

  const admitToken = async (request: FastifyRequest): Promise<void> => {
    spend(enrollments, request);
    const credential = parseCredential(request.headers.authorization);
    if (credential instanceof Problem) throw credential;
    credentials.set(request, credential);
    await takeTurn(request);
  };

  const admitCertificate = async (request: FastifyRequest, worth: RequiredStatus): Promise<void> => {
    const verdict = await checkClientCertificate(request.raw.socket as TLSSocket, options.peers, worth);
    if (!verdict.ok) {
      const { problem, shown } = verdict;
      const fields = { address: request.ip, reason: problem.reason, ...shown };
      refusalLog.write(log, 'info', request.ip, fields, 'client certificate refused');
      throw problem;
    }
    holders.set(request, verdict.holder);
    if (request.method === 'GET') return;
    // After the judgement: nobody without a certificate of ours can use up what renewals have.
    spend(renewals, request);
    await takeTurn(request);
  };

  return {
    authenticate: async (request) => {
      switch (routeAuthentication(request)) {
        case 'public':
        case undefined: // no route: it will be told so
          return;
        case 'token':
          return admitToken(request);
        case 'certificate':
          return admitCertificate(request, 'good');
        case 'renewal':
          return admitCertificate(request, 'renewable');
      }
    },
    credential: (request) => shownBy(credentials, request),
    holder: (request) => shownBy(holders, request),
  };
}

function spend(limit: RateLimit, request: FastifyRequest): void {
  const retryAfter = limit.take(request.ip);
  if (retryAfter > 0) throw new Problem('rate_limited', { retryAfter });
}

function shownBy<Shown>(kept: WeakMap<FastifyRequest, Shown>, request: FastifyRequest): Shown {
  const shown = kept.get(request);
  if (shown === undefined) throw new Problem('internal', { reason: 'a route reads what its caller was not asked for' });
  return shown;
}
