/**
 * Runs a server until it is told to stop. A node whose sessions others took over while it was not heard has nothing that it could go on with: its
 * server is closed, and a new one starts in this process, on the same ports.
 */

import { asProblem, Problem, parseDecimal } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Config } from '../server/config/index.ts';
import type { FleetServer } from '../server/index.ts';

export interface RunOptions<Signal> {
  /** Its ports become those that the first server has chosen. */
  readonly config: Config;
  readonly stopped: Promise<Signal>;
  /** `lost` and `abandoned` as `FleetServerOptions` has `lost` and `stopped`. */
  readonly start: (lost: (problem: Problem) => void, abandoned: AbortSignal) => Promise<FleetServer>;
  readonly log: Logger;
}

/**
 * Resolves with the server that still runs when it is told to stop; undefined when it had not started. Throws the Problem of a server that has to
 * end, once it is closed, and what starting throws. `started` returns what is done before the server is closed or drained.
 */
export async function runUntilStopped<Signal>(
  { config, stopped, start, log }: RunOptions<Signal>,
  started: (server: FleetServer, isFirst: boolean) => Promise<() => void>,
): Promise<{ readonly server: FleetServer | undefined; readonly signal: Signal }> {
  const abandoned = new AbortController();
  void stopped.then(() => abandoned.abort());
  const isStopped = () => abandoned.signal.aborted;
  for (let isFirst = true; ; ) {
    const lost = Promise.withResolvers<Problem>();
    const server = await start(lost.resolve, abandoned.signal).catch((error: unknown) => {
      if (!isStopped()) return expectSuperseded(error, log);
      log.info({ reason: reasonOf(error) }, 'stopped before it had started');
      return undefined;
    });
    if (isStopped()) return { server, signal: await stopped };
    if (server === undefined) continue;
    const stopping = await started(server, isFirst).catch(async (error: unknown) => {
      await server.close();
      throw error;
    });
    isFirst = false;
    const end = await Promise.race([stopped, lost.promise]);
    stopping();
    if (!(end instanceof Problem)) return { server, signal: end };
    // Others may act in its place: nothing is drained.
    await server.close();
    expectSuperseded(end, log);
    keepPorts(config, server);
  }
}

function reasonOf(error: unknown): string {
  const { code, reason = '' } = asProblem(error);
  return reason === '' ? code : `${code}: ${reason}`;
}

/** Also in the middle of a start. Throws any other error. */
function expectSuperseded(error: unknown, log: Logger): undefined {
  if (!(error instanceof Problem) || error.code !== 'node_superseded') throw error;
  log.warn({ code: error.code, reason: error.reason }, 'the server starts again');
}

/** Of a configuration that leaves the choice of a port to the system. */
function keepPorts(config: Config, { enrollUrl, mqttUrl, webSocketUrl, consoleUrl, healthUrl }: FleetServer): void {
  const ports = [
    [config.enroll, enrollUrl],
    [config.mqtt, mqttUrl],
    [config.mqtt.webSocket, webSocketUrl],
    [config.console, consoleUrl],
    [config.health, healthUrl],
  ] as const;
  for (const [listener, url] of ports) {
    const port = url === undefined ? undefined : parseDecimal(new URL(url).port, 1, 65_535);
    if (port !== undefined) listener.port = port;
  }
}
