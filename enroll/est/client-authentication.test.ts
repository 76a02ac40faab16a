import { formatBootstrapToken } from '@rollcall/protocol';
import fastify from 'fastify';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { ClientAddresses, createRequestLimits, WorkQueue } from '../../limits/index.ts';
import { NO_REQUEST_LIMITS } from '../../limits/request-limits.ts';
import { Counters } from '../counters.ts';
import { createClientAuthentication } from './client-authentication.ts';
import type { ClientCertificateDeps } from './client-certificate.ts';
import { createErrorResponses } from './error-responses.ts';

const log = pino({ level: 'silent' });
const token = formatBootstrapToken({
  id: '0123456789abcdef',
  secret: 'A'.repeat(27),
  rootSha256: '0'.repeat(64),
  enrollUrl: 'https://localhost:8443',
});
const { refusalLog } = createRequestLimits(NO_REQUEST_LIMITS);
const addresses = new ClientAddresses();
const unlimited = { take: () => 0 };

function openRoutes(waiting: number) {
  const turns: (() => void)[] = [];
  const counters = new Counters();
  const authentication = createClientAuthentication({
    addresses,
    clientCertHeader: { clientOf: () => undefined },
    certificates: {} as ClientCertificateDeps, // no client presents a certificate here
    enrollments: unlimited,
    renewals: unlimited,
    loadTests: { find: () => undefined },
    workQueue: new WorkQueue({ waiting, nextTurn: (run) => turns.push(run) }),
    random: () => 0.5,
    counters,
  });
  const app = fastify();
  const { presented } = authentication;
  app.setErrorHandler(createErrorResponses({ now: () => 0, addresses, log, refusalLog, counters, presented }).error);
  app.addHook('onRequest', (request) => authentication.authenticate(request));
  let done = 0;
  app.post('/enroll', { config: { authentication: 'token' } }, async () => {
    done += 1;
    return '';
  });
  app.get('/public', { config: { authentication: 'public' } }, async () => 'answer');
  const authorization = `Bearer ${token}`;
  return {
    app,
    counters,
    done: () => done,
    enroll: () =>
      app.inject({ method: 'POST', url: '/enroll', headers: { authorization } }).then((response) => response),
    turn: () => turns.shift()?.(),
  };
}

describe('requests for a certificate', () => {
  it('wait for each other, and are refused with a time to retry when too many wait', async () => {
    const { enroll, turn, done, counters } = openRoutes(1);
    expect((await enroll()).statusCode).toBe(200);
    const both = [enroll(), enroll()];
    const refused = await Promise.race(both);
    expect(refused.statusCode).toBe(429);
    expect(refused.headers['retry-after']).toBe('8');
    expect(refused.json()).toMatchObject({ code: 'rate_limited' });
    expect(done()).toBe(1);
    turn();
    expect((await Promise.all(both)).map(({ statusCode }) => statusCode).sort()).toEqual([200, 429]);
    expect(counters.snapshot()).toMatchObject({ enroll_overloaded_total: 1 });
  });

  it('do not delay other requests', async () => {
    const { enroll, app, turn } = openRoutes(1);
    await enroll();
    const second = enroll();
    expect((await app.inject({ method: 'GET', url: '/public' })).body).toBe('answer');
    turn();
    expect((await second).statusCode).toBe(200);
  });
});
