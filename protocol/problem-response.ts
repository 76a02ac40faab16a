/** Sends a problem document on a plain `node:http` response. */

import { PROBLEM_MEDIA_TYPE, type Problem, problemDocument } from './problem.ts';

/** The part of a `node:http` response that is used. */
export interface PlainResponse {
  writeHead(status: number, headers: Record<string, string>): unknown;
  end(body: string): unknown;
}

/** The connection is closed afterwards. `now` is the time in the document and in the Date header. */
export function sendProblem(
  response: PlainResponse,
  problem: Problem,
  now: number,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = JSON.stringify(problemDocument(problem, now));
  response.writeHead(problem.status, {
    'content-type': PROBLEM_MEDIA_TYPE,
    'cache-control': 'no-store',
    date: new Date(now).toUTCString(),
    connection: 'close',
    ...(problem.retryAfter !== undefined && { 'retry-after': String(problem.retryAfter) }),
    ...headers,
  });
  response.end(body);
}
