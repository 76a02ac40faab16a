/**
 * Turns every error of the EST server into a response: a problem document (RFC 9457) with the public sentence and the
 * server's time, and a log line with the reason. Never logs a body or an Authorization header.
 */

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
  asProblem,
  EST_PATHS,
  formatIdentity,
  PROBLEM_MEDIA_TYPE,
  Problem,
  problemDocument,
  RENEWAL_INFO_PATH,
  sendProblem,
  TIME_PATH,
} from '@rollcall/protocol';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { type ClientAddresses, describeRefusedCertificate, type RefusalLog } from '../../limits/index.ts';
import type { Counters } from '../counters.ts';
import type { ClientAuthentication } from './client-authentication.ts';
import type { RefusedRequest } from './refused-request.ts';
import { routeAuthentication } from './route-authentication.ts';

/** RFC 9110, section 11.6.1: a 401 response names the authentication schemes. */
const TOKEN_CHALLENGES = ['Basic realm="rollcall", charset="UTF-8"', 'Bearer realm="rollcall"'];
const CHALLENGES: Readonly<Record<string, readonly string[]>> = {
  token_rejected: TOKEN_CHALLENGES,
  credentials_missing: TOKEN_CHALLENGES,
  certificate_required: ['ClientCertificate realm="rollcall"'],
};

/** Retry-After of a 503 response that names no time of its own, in seconds. */
const UNAVAILABLE_RETRY_AFTER = 30;

const CRL_PATH_FORM = /^\/crl\/[\w.-]+$/;

/** The method of each path, for the Allow header. */
const METHODS: ReadonlyMap<string, string> = new Map([
  [EST_PATHS.cacerts, 'GET'],
  [EST_PATHS.csrattrs, 'GET'],
  [TIME_PATH, 'GET'],
  [RENEWAL_INFO_PATH, 'GET'],
  [EST_PATHS.simpleenroll, 'POST'],
  [EST_PATHS.simplereenroll, 'POST'],
]);

export interface ErrorResponses {
  /** For any error that a route, a hook or the framework has thrown. */
  error(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply;
  /** For a path or method without a route. */
  notFound(request: FastifyRequest, reply: FastifyReply): FastifyReply;
  /** For a request that exceeds the budget of its client's network. It was not parsed further. */
  rateLimited(response: ServerResponse, retryAfter: number, address: string): void;
}

export function createErrorResponses(options: {
  readonly now: () => number;
  readonly addresses: ClientAddresses;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
  readonly counters: Counters;
  readonly presented: ClientAuthentication['presented'];
  readonly onRefused?: ((refusal: RefusedRequest) => void) | undefined;
}): ErrorResponses {
  const { now, addresses, log, refusalLog, counters, presented, onRefused = () => {} } = options;

  const send = (reply: FastifyReply, problem: Problem): FastifyReply => {
    counters.add(`enroll_refused_total/code=${problem.code}`);
    const challenge = CHALLENGES[problem.code];
    if (challenge !== undefined) reply.header('www-authenticate', [...challenge]);
    const retryAfter = problem.retryAfter ?? (problem.status === 503 ? UNAVAILABLE_RETRY_AFTER : undefined);
    if (retryAfter !== undefined) reply.header('retry-after', retryAfter);
    return (
      reply
        .code(problem.status)
        .header('cache-control', 'no-store')
        // Node would send the system's clock. A device reads either header or body, so both have to agree.
        .header('date', new Date(now()).toUTCString())
        .type(PROBLEM_MEDIA_TYPE)
        .send(JSON.stringify(problemDocument(problem, now())))
    );
  };

  const refused = (request: FastifyRequest, problem: Problem, fields: { readonly address: string }): void => {
    const { address } = fields;
    const { holder, tokenId, deviceId, certificate: shown } = presented(request);
    const certificate = describeRefusedCertificate(shown);
    const identity = holder && formatIdentity(holder);
    refusalLog.write(log, 'info', address, { ...fields, identity, tokenId, ...certificate }, 'request refused');
    const operation = operationOf(request);
    if (operation === undefined) return;
    const { code, reason } = problem;
    onRefused({ at: now(), operation, code, reason, address, tokenId, deviceId, holder, certificate });
  };

  return {
    error: (error, request, reply) => {
      const problem = error instanceof Problem ? error : fromFramework(error);
      const path = request.routeOptions?.url; // as declared, never as requested
      const address = addresses.of(request.raw.socket);
      const fields = { code: problem.code, reason: problem.reason, address, path };
      if (problem.status < 500) refused(request, problem, fields);
      else refusalLog.write(log, 'error', address, { ...fields, err: problem.cause ?? problem }, 'request failed');
      return send(reply, problem);
    },
    notFound: (request, reply) => {
      const path = pathOf(request);
      const allowed = CRL_PATH_FORM.test(path) ? 'GET' : METHODS.get(path);
      if (allowed === undefined) return send(reply, new Problem('not_found'));
      return send(reply.header('allow', allowed), new Problem('method_not_allowed'));
    },
    rateLimited: (response, retryAfter, address) => {
      const problem = new Problem('rate_limited', { retryAfter });
      counters.add(`enroll_refused_total/code=${problem.code}`);
      refusalLog.write(log, 'info', address, { code: problem.code, address }, 'request refused');
      sendProblem(response, problem, now());
    },
  };
}

/** For input that is not HTTP, or that arrives too slowly: there is a connection and no request. */
export function respondToClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  const status = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request';
  const head = `HTTP/1.1 ${status}\r\ndate: ${new Date().toUTCString()}`;
  if (socket.writable) socket.end(`${head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
  socket.destroySoon();
}

/** Undefined for a public route, and for a path without one. */
function operationOf(request: FastifyRequest): RefusedRequest['operation'] | undefined {
  const authentication = routeAuthentication(request);
  if (authentication === 'token') return 'enroll';
  return authentication === 'certificate' || authentication === 'renewal' ? 'renew' : undefined;
}

function pathOf(request: FastifyRequest): string {
  return request.raw.url?.split('?')[0] ?? '';
}

function fromFramework(error: unknown): Problem {
  const { code } = error as Partial<FastifyError>;
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new Problem('body_too_large');
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new Problem('media_type_unsupported');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'FST_ERR_BAD_URL':
      return new Problem('request_invalid', { reason: code });
    default:
      return asProblem(error);
  }
}
