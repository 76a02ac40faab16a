/**
 * The one place of the enroll server that turns errors into answers: a problem document (RFC 9457) with the sentence for
 * outsiders and the server's time, and a log line with the reason. Never writes a body or an Authorization header.
 */

import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
  asProblem,
  EST_PATHS,
  PROBLEM_MEDIA_TYPE,
  Problem,
  problemDocument,
  RENEWAL_INFO_PATH,
  sendProblem,
  TIME_PATH,
} from '@rollcall/protocol';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { RefusalLog } from '../../limits/index.ts';
import type { Counters } from '../counters.ts';

/** RFC 9110, section 11.6.1: an answer 401 says how to ask. */
const TOKEN_CHALLENGES = ['Basic realm="rollcall", charset="UTF-8"', 'Bearer realm="rollcall"'];
const CHALLENGES: Readonly<Record<string, readonly string[]>> = {
  token_rejected: TOKEN_CHALLENGES,
  credentials_missing: TOKEN_CHALLENGES,
  certificate_required: ['ClientCertificate realm="rollcall"'],
};

/** For a 503 that names no time of its own, in seconds: its causes pass, but not at once. */
const UNAVAILABLE_RETRY_AFTER = 30;

const LIST_PATH = /^\/crl\/[\w.-]+$/;

/** What each path answers to. */
const METHODS: ReadonlyMap<string, string> = new Map([
  [EST_PATHS.cacerts, 'GET'],
  [EST_PATHS.csrattrs, 'GET'],
  [TIME_PATH, 'GET'],
  [RENEWAL_INFO_PATH, 'GET'],
  [EST_PATHS.simpleenroll, 'POST'],
  [EST_PATHS.simplereenroll, 'POST'],
]);

export interface ErrorResponses {
  /** For whatever was thrown, by us or by the framework. */
  error(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply;
  /** For what is no route. */
  notFound(request: FastifyRequest, reply: FastifyReply): FastifyReply;
  /** For what is over its address's budget, and was not looked at. */
  rateLimited(response: ServerResponse, retryAfter: number, address: string): void;
}

export function createErrorResponses(options: {
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
  readonly counts: Counters;
}): ErrorResponses {
  const { now, log, refusalLog, counts } = options;

  const send = (reply: FastifyReply, problem: Problem): FastifyReply => {
    counts.add(`enroll_refused_total/code=${problem.code}`);
    const challenge = CHALLENGES[problem.code];
    if (challenge !== undefined) reply.header('www-authenticate', [...challenge]);
    const retryAfter = problem.retryAfter ?? (problem.status === 503 ? UNAVAILABLE_RETRY_AFTER : undefined);
    if (retryAfter !== undefined) reply.header('retry-after', retryAfter);
    return (
      reply
        .code(problem.status)
        .header('cache-control', 'no-store')
        // Node would write the system's clock; a device learns from either, so they must agree.
        .header('date', new Date(now()).toUTCString())
        .type(PROBLEM_MEDIA_TYPE)
        .send(JSON.stringify(problemDocument(problem, now())))
    );
  };

  return {
    error: (error, request, reply) => {
      const problem = error instanceof Problem ? error : fromFramework(error);
      const path = request.routeOptions?.url; // as it was declared, never as it was asked
      const fields = { code: problem.code, reason: problem.reason, address: request.ip, path };
      if (problem.status < 500) refusalLog.write(log, 'info', request.ip, fields, 'request refused');
      else refusalLog.write(log, 'error', request.ip, { ...fields, err: problem.cause ?? problem }, 'request failed');
      return send(reply, problem);
    },
    notFound: (request, reply) => {
      const path = pathOf(request);
      const allowed = LIST_PATH.test(path) ? 'GET' : METHODS.get(path);
      if (allowed === undefined) return send(reply, new Problem('not_found'));
      return send(reply.header('allow', allowed), new Problem('method_not_allowed'));
    },
    rateLimited: (response, retryAfter, address) => {
      const problem = new Problem('rate_limited', { retryAfter });
      counts.add(`enroll_refused_total/code=${problem.code}`);
      refusalLog.write(log, 'info', address, { code: problem.code, address }, 'request refused');
      sendProblem(response, problem, now());
    },
  };
}

/** For what is not HTTP at all, or comes too slowly: there is no request to answer, only a connection. */
export function respondToClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  const status = error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? '408 Request Timeout' : '400 Bad Request';
  const head = `HTTP/1.1 ${status}\r\ndate: ${new Date().toUTCString()}`;
  if (socket.writable) socket.end(`${head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
  socket.destroySoon();
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
