/**
 * Lets a request in or not, by what its route declares: before its body is read, and rate limits before anything that
 * costs. What a caller showed is kept for its route, and only there.
 */

import type { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { Problem } from '../contract/problem.ts';
import { type CertificateHolder, identifyHolder, type PeerDeps, type Worth } from './client-certificate.ts';
import { type EnrollmentCredential, parseCredential } from './credential.ts';
import type { RateLimit } from './rate-limit.ts';
import { declaredCaller } from './route-guard.ts';

export interface Callers {
  /** The hook of every request; throws the Problem that sends it away. */
  admit(request: FastifyRequest): Promise<void>;
  /** What the caller of a `token` route showed. */
  credential(request: FastifyRequest): EnrollmentCredential;
  /** Who the caller of a `certificate` or `renewal` route is. */
  holder(request: FastifyRequest): CertificateHolder;
}

export function createCallers(options: {
  readonly peers: PeerDeps;
  readonly enrollments: RateLimit;
  readonly renewals: RateLimit;
  /** What the holder of a certificate asks without a certificate being issued for it. */
  readonly questions: RateLimit;
  readonly log: Logger;
}): Callers {
  const { enrollments, renewals, questions, log } = options;
  const credentials = new WeakMap<FastifyRequest, EnrollmentCredential>();
  const holders = new WeakMap<FastifyRequest, CertificateHolder>();

  const admitToken = (request: FastifyRequest): void => {
    spend(enrollments, request);
    const credential = parseCredential(request.headers.authorization);
    if (credential instanceof Problem) throw credential;
    credentials.set(request, credential);
  };

  const admitCertificate = async (request: FastifyRequest, worth: Worth): Promise<void> => {
    const verdict = await identifyHolder(request.raw.socket as TLSSocket, options.peers, worth);
    if (!verdict.ok) {
      const { problem, shown } = verdict;
      log.info({ address: request.ip, reason: problem.reason, ...shown }, 'client certificate refused');
      throw problem;
    }
    spend(request.method === 'GET' ? questions : renewals, request);
    holders.set(request, verdict.holder);
  };

  return {
    admit: async (request) => {
      switch (declaredCaller(request)) {
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
