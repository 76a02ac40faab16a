import { Problem } from '@rollcall/protocol';
import fastify from 'fastify';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { createThrottle } from '../../limits/index.ts';
import { UNTHROTTLED } from '../../limits/request-limits.ts';
import { Counts } from '../counts.ts';
import { createAnswers } from './error-responses.ts';

it.each([
  ['rate_limited', { retryAfter: 7 }, '7'],
  ['unavailable', {}, '30'],
  ['unavailable', { retryAfter: 2 }, '2'],
  ['internal', {}, undefined],
] as const)('%s with %o says when to come again: %s', async (code, options, retryAfter) => {
  const app = fastify();
  onTestFinished(() => app.close());
  const answers = createAnswers({
    now: () => 0,
    log: pino({ level: 'silent' }),
    ...createThrottle(UNTHROTTLED),
    counts: new Counts(),
  });
  app.setErrorHandler(answers.error);
  app.get('/', () => {
    throw new Problem(code, options);
  });
  const answer = await app.inject('/');
  expect(answer.headers['retry-after']).toBe(retryAfter);
});
