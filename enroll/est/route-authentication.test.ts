import fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { requireRouteAuthentication } from './route-authentication.ts';

describe('a route', () => {
  it('that does not say who may call it keeps the server from starting', () => {
    const app = fastify();
    requireRouteAuthentication(app);
    expect(() => app.get('/secret', () => 'x')).toThrow('expected GET /secret to declare its caller');
  });

  it('cannot declare a caller that nobody checks', () => {
    const app = fastify();
    requireRouteAuthentication(app);
    expect(() => app.get('/secret', { config: { caller: 'admin' as never } }, () => 'x')).toThrow(
      'to declare its caller',
    );
  });

  it('that declares one is added', async () => {
    const app = fastify({ exposeHeadRoutes: false });
    requireRouteAuthentication(app);
    app.get('/', { config: { caller: 'public' } }, () => 'x');
    await app.ready();
    expect(app.hasRoute({ method: 'GET', url: '/' })).toBe(true);
    await app.close();
  });
});
