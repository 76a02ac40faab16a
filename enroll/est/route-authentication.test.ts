import fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { requireRouteAuthentication } from './route-authentication.ts';

describe('a route', () => {
  it('without a declared authentication keeps the server from starting', () => {
    const app = fastify();
    requireRouteAuthentication(app);
    expect(() => app.get('/secret', () => 'x')).toThrow('expected GET /secret to declare its authentication');
  });

  it('cannot declare an unknown kind of authentication', () => {
    const app = fastify();
    requireRouteAuthentication(app);
    expect(() => app.get('/secret', { config: { authentication: 'admin' as never } }, () => 'x')).toThrow(
      'to declare its authentication',
    );
  });

  it('with a declared authentication is added', async () => {
    const app = fastify({ exposeHeadRoutes: false });
    requireRouteAuthentication(app);
    app.get('/', { config: { authentication: 'public' } }, () => 'x');
    await app.ready();
    expect(app.hasRoute({ method: 'GET', url: '/' })).toBe(true);
    await app.close();
  });
});
