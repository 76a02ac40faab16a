import { Problem } from '@rollcall/protocol';
import fastify from 'fastify';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { ClientAddresses, createRequestLimits } from '../../limits/index.ts';
import { NO_REQUEST_LIMITS } from '../../limits/request-limits.ts';
import { Counters } from '../counters.ts';
import { createErrorResponses } from './error-responses.ts';

it.each([
  ['rate_limited', { retryAfter: 7 }, '7'],
  ['unavailable', {}, '30'],
  ['unavailable', { retryAfter: 2 }, '2'],
  ['internal', {}, undefined],
] as const)('%s with %o sends Retry-After %s', async (code, options, retryAfter) => {
  const app = fastify();
  onTestFinished(() => app.close());
  const responses = createErrorResponses({
    now: () => 0,
    addresses: new ClientAddresses(),
    log: pino({ level: 'silent' }),
    ...createRequestLimits(NO_REQUEST_LIMITS),
    counters: new Counters(),
    presented: () => ({ tokenId: undefined, deviceId: undefined, holder: undefined, certificate: undefined }),
  });
  app.setErrorHandler(responses.error);
  app.get('/', () => {
    throw new Problem(code, options);
  });
  const response = await app.inject('/');
  expect(response.headers['retry-after']).toBe(retryAfter);
});
