/** Every failure of a request as `application/problem+json`, in one place. */

import { asProblem, PROBLEM_MEDIA_TYPE, Problem, problemDocument } from '@rollcall/protocol';
import type { FastifyError, FastifyReply } from 'fastify';
import type { Logger } from 'pino';
import type { RefusalLog } from '../limits/index.ts';

export interface ProblemAnswersOptions {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}

export type AnswerProblem = (error: unknown, reply: FastifyReply) => void;

/** Answers a failure as `application/problem+json`, and logs its reason at a bounded rate. */
export function problemAnswers({ log, refusalLog, now }: ProblemAnswersOptions): AnswerProblem {
  return (error, reply) => {
    const problem = problemOf(error);
    const fields = { code: problem.code, reason: problem.reason, route: reply.request.routeOptions.url };
    const address = reply.request.ip ?? 'unix';
    if (problem.status < 500) refusalLog.write(log, 'debug', address, fields, 'operator request refused');
    else {
      const failure = { ...fields, err: problem.cause ?? problem };
      refusalLog.write(log, 'error', address, failure, 'operator request failed');
    }
    if (problem.retryAfter !== undefined) reply.header('retry-after', problem.retryAfter);
    if (problem.code === 'operator_required') reply.header('www-authenticate', 'Bearer realm="rollcall"');
    void reply
      .code(problem.status)
      .type(PROBLEM_MEDIA_TYPE)
      .send(JSON.stringify(problemDocument(problem, now())));
  };
}

const FRAMEWORK_PROBLEMS: Readonly<Record<string, () => Problem>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new Problem('body_too_large'),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new Problem('media_type_unsupported', { detail: 'expected a body of application/json' }),
  FST_ERR_CTP_INVALID_JSON_BODY: () => new Problem('request_invalid', { detail: 'body: expected JSON' }),
};

function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const { code, statusCode, message } = error as FastifyError;
  const known = Object.hasOwn(FRAMEWORK_PROBLEMS, String(code)) ? FRAMEWORK_PROBLEMS[code]?.() : undefined;
  if (known !== undefined) return known;
  if (statusCode !== undefined && statusCode < 500) return new Problem('request_invalid', { reason: message });
  return asProblem(error);
}
