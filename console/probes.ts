/**
 * Probes of supervisors and load balancers: `/livez` and `/readyz`, without a key. Their answers are a word and a status. The console
 * serves them over HTTPS; the probe server serves nothing else, over plain HTTP, for supervisors that cannot reach the console.
 */

import type { AddressInfo } from 'node:net';
import { Problem, sendProblem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { createHttpServer, type RefusalLog, RequestBudget } from '../limits/index.ts';
import { LIVE_PATH, PROBE_MEDIA_TYPE, READY_PATH } from './api/server.ts';
import { HTTP_LIMITS, Listener, listenOnTcp } from './listener.ts';

export interface ProbeAnswer {
  readonly status: 200 | 503;
  readonly text: string;
}

/** 200 `ok`, or 503 `not ready`. */
export function probeAnswer(isReady: boolean): ProbeAnswer {
  return isReady ? { status: 200, text: 'ok\n' } : { status: 503, text: 'not ready\n' };
}

export interface ProbeServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** The server takes devices and can store what they send. Never rejects. */
  readonly isReady: () => Promise<boolean>;
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}

export interface ProbeServer {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Requests per second and address. A budget of its own: behind address translation a probe and a device in a loop may have the same
 * address, and a supervisor ends a server whose probes are refused.
 */
const PROBES_PER_SECOND = 50;

/** Throws Problem `address_in_use`, or `config_invalid` for an address that is not this machine's. */
export async function createProbeServer(options: ProbeServerOptions): Promise<ProbeServer> {
  const { host, port, isReady, now, log, refusalLog } = options;
  const budget = new RequestBudget({
    perSecondPerAddress: PROBES_PER_SECOND,
    monotonic: () => performance.now(),
    random: Math.random,
  });
  const server = createHttpServer(HTTP_LIMITS);
  budget.attach(server, {
    handle: ({ method, url = '' }, response) => {
      const path = url.split('?', 1)[0] as string;
      if (path !== LIVE_PATH && path !== READY_PATH) return sendProblem(response, new Problem('not_found'), now());
      if (method !== 'GET' && method !== 'HEAD') {
        return sendProblem(response, new Problem('method_not_allowed'), now(), { allow: 'GET, HEAD' });
      }
      void (path === LIVE_PATH ? Promise.resolve(true) : isReady()).then((found) => {
        const { status, text } = probeAnswer(found);
        const headers = {
          'content-type': PROBE_MEDIA_TYPE,
          'content-length': text.length,
          'cache-control': 'no-store',
        };
        response.writeHead(status, headers).end(method === 'HEAD' ? undefined : text);
      });
    },
    refuse: (response, retryAfter, address) => {
      refusalLog.write(log, 'debug', address, { address }, 'probe refused');
      sendProblem(response, new Problem('rate_limited', { retryAfter }), now());
    },
  });
  const listener = new Listener(server, log, refusalLog);
  await listener.open(() => listenOnTcp(server, host, port, 'probes'));
  const { port: found } = server.address() as AddressInfo;
  log.info({ host, port: found }, 'probes are answered');
  return { port: found, close: () => listener.close() };
}
