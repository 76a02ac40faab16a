/**
 * Runs a server until it is told to stop. A node whose sessions others took over while it was not heard has nothing that it could go on with: its
 * server is closed, and a new one starts in this process, on the same ports.
 */

import { Problem, parseDecimal } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Config } from '../server/config/index.ts';
import type { FleetServer } from '../server/index.ts';

export interface RunOptions<Signal> {
  /** Its ports become those that the first server has chosen. */
  readonly config: Config;
  readonly stopped: Promise<Signal>;
  /** `lost` as `FleetServerOptions` has it. */
  readonly start: (lost: (problem: Problem) => void) => Promise<FleetServer>;
  readonly log: Logger;
}

/**
 * Resolves with the server that still runs when it is told to stop. Throws the Problem of a server that has to end, once it is closed, and
 * what starting throws. `started` returns what is done before the server is closed or drained.
 */
export async function runUntilStopped<Signal>(
  { config, stopped, start, log }: RunOptions<Signal>,
  started: (server: FleetServer, isFirst: boolean) => Promise<() => void>,
): Promise<{ readonly server: FleetServer; readonly signal: Signal }> {
  for (let isFirst = true; ; ) {
    const lost = Promise.withResolvers<Problem>();
    const server = await start(lost.resolve).catch((error: unknown) => expectSuperseded(error, log));
    if (server === undefined) continue;
    const stopping = await started(server, isFirst);
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
