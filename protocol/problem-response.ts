/** A problem document as the answer of a plain HTTP server, where no framework stands before it. Knows no route. */

import { PROBLEM_MEDIA_TYPE, type Problem, problemDocument } from './problem.ts';

/** What is needed of a response of `node:http`. */
export interface PlainResponse {
  writeHead(status: number, headers: Record<string, string>): unknown;
  end(body: string): unknown;
}

/** The connection is closed afterwards. `now` stands in the document and in the Date header, which must agree. */
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
