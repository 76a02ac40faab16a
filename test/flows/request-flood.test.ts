/** Clients that pipeline refused requests to the real program: its responses, its log, and other clients. */

import { once } from 'node:events';
import { request } from 'node:https';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { describe, expect, it, onTestFinished } from 'vitest';
import { freshKey, writeTestCsr } from '../fixtures/enroll/test-csr.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const REQUESTS = 2_000;
const CONNECTIONS = 6;
/** The burst that the request budget allows (two seconds at 50 per second), with what is refilled during the test. */
const BUDGET_AT_MOST = 500;

async function start(environment: Readonly<Record<string, string>> = {}) {
  const data = temporaryDirectory();
  const server = await serve(data, [], { environment });
  onTestFinished(() => server.end('SIGKILL').then(() => undefined));
  return { data, server };
}

interface Flood {
  readonly path: string;
  readonly host?: string;
  readonly headers?: string;
  readonly open: () => Socket;
  readonly atOnce?: number;
}

/** Sends requests on one connection, some at once and one for each response; resolves with the statuses received until it closes. */
function flood({ path, host = 'localhost', headers = '', open, atOnce = 8 }: Flood): Promise<readonly string[]> {
  return new Promise((resolve) => {
    const socket = open();
    const statuses: string[] = [];
    const ask = (times: number) =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${headers}\r\n`.repeat(times));
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      const before = statuses.length;
      statuses.push(...[...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => status as string));
      if (statuses.length >= REQUESTS) socket.destroy();
      else ask(statuses.length - before);
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(statuses));
    ask(atOnce);
  });
}

/** Floods on several connections, one after the other, so that each receives a refusal. */
async function floods(order: Flood): Promise<readonly string[]> {
  const statuses: string[] = [];
  for (let n = 0; n < CONNECTIONS; n += 1) statuses.push(...(await flood(order)));
  return statuses;
}

const overTls = (url: string) => () =>
  connectTls({ host: '127.0.0.1', port: Number(new URL(url).port), rejectUnauthorized: false });

const linesOf = (server: RunningServer) => server.log().trim().split('\n').length;

async function enrollFrom(localAddress: string, data: string, enrollUrl: string): Promise<number> {
  const { stdout } = await rollcall(['token', 'create', '--data', data, '--json']);
  const { text } = JSON.parse(stdout) as { readonly text: string };
  const { port } = new URL(enrollUrl);
  const sent = request({
    host: '127.0.0.1',
    port,
    localAddress,
    method: 'POST',
    path: '/.well-known/est/simpleenroll',
    auth: `elsewhere:${text}`,
    headers: { 'content-type': 'application/pkcs10' },
    rejectUnauthorized: false,
    agent: false,
  });
  sent.end(writeTestCsr(freshKey()).toString('base64'));
  const [answer] = (await once(sent, 'response')) as [{ statusCode: number; resume: () => void }];
  answer.resume();
  return answer.statusCode;
}

describe('a client that pipelines requests', () => {
  it.each([
    ['without the certificate that they need', '/v1/renewal-info', ''],
    ['for no route', '/nothing/here', ''],
    ['for a public route', '/.well-known/est/cacerts', ''],
    ['with an expectation that nobody has', '/v1/time', 'Expect: the-unexpected\r\n'],
  ])('%s gets a bounded number of answers and log lines at the enroll server', async (_, path, headers) => {
    const { data, server } = await start();
    const before = linesOf(server);
    const statuses = await floods({ path, headers, open: overTls(server.ready.enrollUrl) });
    expect(statuses.length).toBeLessThan(BUDGET_AT_MOST);
    expect(statuses.filter((status) => status === '429').length).toBeLessThanOrEqual(CONNECTIONS);
    expect(await enrollFrom('127.0.0.2', data, server.ready.enrollUrl)).toBe(200);
    expect(linesOf(server) - before).toBeLessThanOrEqual(20);
    expect(server.log()).not.toContain('the-unexpected');
  });

  it('is limited at the console, with any Host header, and the unix socket still responds', async () => {
    const { data, server } = await start({ ROLLCALL_LOG_LEVEL: 'debug' });
    const before = linesOf(server);
    const open = overTls(server.ready.consoleUrl);
    const ofOwnHost = await floods({ path: '/v1/health', open });
    const ofForeignHost = await floods({ path: '/v1/health', host: 'evil.example', open });
    for (const statuses of [ofOwnHost, ofForeignHost]) {
      expect(statuses.length).toBeGreaterThan(0);
      expect(statuses.length).toBeLessThan(BUDGET_AT_MOST);
    }
    expect(linesOf(server) - before).toBeLessThanOrEqual(20);
    expect((await rollcall(['device', 'list', '--data', data])).code).toBe(0);
  });

  it('and has many responses outstanding on one connection is refused once, and its connection is closed', async () => {
    const { server } = await start({ ROLLCALL_REQUESTS_PER_SECOND_PER_ADDRESS: '0' });
    const open = overTls(server.ready.enrollUrl);
    const statuses = await flood({ path: '/v1/renewal-info', open, atOnce: REQUESTS });
    expect(statuses.length).toBeLessThanOrEqual(17);
    expect(statuses.filter((status) => status === '429').length).toBeLessThanOrEqual(1);
  });

  it('adds few lines to the log while its reader has stalled', async () => {
    const { server } = await start();
    server.pauseLog();
    const open = overTls(server.ready.enrollUrl);
    await Promise.all(Array.from({ length: 18 }, () => flood({ path: '/v1/renewal-info', open })));
    const ended = await server.end('SIGTERM');
    expect(ended.stderr.length).toBeLessThan(16_384);
  });

  it('has one budget for the enroll server and the certificate status server', async () => {
    const fleet = await startFleet({
      settings: [
        [['requests', 'perSecondPerAddress'], 0.001],
        [['certificateStatus', 'listen'], true],
        [['certificateStatus', 'port'], 0],
      ],
    });
    onTestFinished(() => fleet.stop());
    const port = Number(new URL(fleet.certificateStatusUrl as string).port);
    const status = () => connectTcp(port, '127.0.0.1');
    expect(await flood({ path: '/crl/none.crl', open: status })).toEqual(['404']);
    expect(await flood({ path: '/crl/none.crl', open: status })).toEqual(['429']);
    expect(await flood({ path: '/v1/time', open: overTls(fleet.enrollUrl) })).toEqual(['429']);
    expect(await flood({ path: '/v1/health', open: overTls(fleet.consoleUrl) })).toEqual(['429']);
  });
});
