/** The probe server: two paths without a key, and nothing else. */

import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { RefusalLog } from '../limits/index.ts';
import { createProbeServer } from './probes.ts';

async function opened(isReady: () => Promise<boolean> = async () => true): Promise<number> {
  const server = await createProbeServer({
    ...{ host: '127.0.0.1', port: 0, isReady, now: Date.now, log: pino({ level: 'silent' }) },
    refusalLog: new RefusalLog({ perMinutePerSource: 0, now: () => performance.now() }),
  });
  onTestFinished(() => server.close());
  return server.port;
}

async function send(port: number, path: string, method = 'GET', host = 'localhost') {
  const sent = request({ port, path, method, headers: { host }, agent: false }).end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, headers: response.headers, text };
}

describe('the probe server', () => {
  it('answers a probe with one word, whatever name the probe uses', async () => {
    const port = await opened();
    for (const path of ['/livez', '/readyz', '/readyz?verbose']) {
      for (const host of ['10.1.2.3:8481', 'evil.example']) {
        expect(await send(port, path, 'GET', host)).toMatchObject({ status: 200, text: 'ok\n' });
      }
    }
    expect((await send(port, '/livez')).headers).toMatchObject({ 'cache-control': 'no-store' });
    expect(await send(port, '/livez', 'HEAD')).toMatchObject({ status: 200, text: '' });
  });

  it('is live while it is not ready', async () => {
    const port = await opened(async () => false);
    expect(await send(port, '/readyz')).toMatchObject({ status: 503, text: 'not ready\n' });
    expect(await send(port, '/livez')).toMatchObject({ status: 200, text: 'ok\n' });
  });

  it('has no other path and no other method', async () => {
    const port = await opened();
    for (const path of ['/', '/v1/health', '/metrics', '/livez/', '//livez', '/v1/tokens']) {
      expect((await send(port, path)).status, path).toBe(404);
    }
    const refused = await send(port, '/readyz', 'POST');
    expect([refused.status, refused.headers.allow]).toEqual([405, 'GET, HEAD']);
  });

  it('refuses an address that asks more often than a supervisor does', async () => {
    const port = await opened();
    const answers = await Promise.all(Array.from({ length: 150 }, () => send(port, '/livez')));
    const statuses = new Set(answers.map(({ status }) => status));
    expect([...statuses].sort()).toEqual([200, 429]);
  });

  it('names the port that is in use', async () => {
    const port = await opened();
    const refusalLog = new RefusalLog({ perMinutePerSource: 0, now: () => performance.now() });
    const options = { host: '127.0.0.1', port, isReady: async () => true, now: Date.now, refusalLog };
    await expect(createProbeServer({ ...options, log: pino({ level: 'silent' }) })).rejects.toMatchObject({
      ...{ code: 'address_in_use', reason: `probes on 127.0.0.1 port ${port}: EADDRINUSE` },
    });
  });
});
