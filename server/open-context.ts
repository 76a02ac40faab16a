/** What all parts of a server have in common: limits, metrics, and probes that answer while it starts and stops. */

import { serverUrl } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { MAIN_NODE } from '../broker/index.ts';
import { createProbeServer } from '../console/index.ts';
import { createRequestLimits } from '../limits/index.ts';
import { isShared, nodeNameOf } from './cluster/node-settings.ts';
import type { Config } from './config/config.ts';
import type { ServerContext } from './context.ts';
import type { DataDirectory } from './data-directory.ts';
import { DescriptorMonitor } from './descriptor-monitor.ts';
import { type CounterSource, Metrics } from './metrics.ts';
import type { OpenParts } from './open-parts.ts';
import { Readiness } from './readiness.ts';
import { runtimeText } from './runtime.ts';

export interface ContextOptions {
  readonly config: Config;
  readonly version: string;
  /** Environment variables that hold the credentials of sinks. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** Counters of the log's destination. */
  readonly logLines?: CounterSource;
}

export function openContext(
  { config, version, environment = {}, now, log, logLines }: ContextOptions,
  data: DataDirectory,
  opened: OpenParts,
): ServerContext {
  const descriptors = opened.add(new DescriptorMonitor({ log, now: () => performance.now() }));
  const limits = createRequestLimits(
    {
      requestsPerSecondPerAddress: config.requests.perSecondPerAddress,
      refusalLogsPerMinute: config.mqtt.limits.refusalLogsPerMinute,
    },
    now,
  );
  const node = isShared(config) ? nodeNameOf(config) : MAIN_NODE;
  const metrics = new Metrics({ version, node, runtime: runtimeText, log });
  metrics.collectFrom('descriptors', descriptors);
  metrics.collectFrom('refusals', limits.refusalLog);
  metrics.collectFrom('loadTests', limits.loadTests);
  if (logLines !== undefined) metrics.collectFrom('logLines', logLines);
  const publicHost = config.publicHosts[0] as string;
  const readiness = new Readiness();
  const startTime = now() / 1_000;
  metrics.collectFrom('server', {
    counters: async () => ({ ready: await readiness.isReady(), start_time_seconds: startTime }),
  });
  return {
    ...{ config, data, environment, publicHost, version, limits, metrics, readiness, now, log },
    cluster: undefined,
  };
}

/** Opened before the stores, and closed after them: a probe is answered while the server starts and stops. */
export async function openProbes(context: ServerContext, opened: OpenParts): Promise<string | undefined> {
  const { config, readiness, limits, now } = context;
  if (!config.health.listen) return undefined;
  const { host, port } = config.health;
  const { refusalLog } = limits;
  const isReady = () => readiness.isReady();
  const log = context.log.child({ component: 'health' });
  const probes = opened.add(await createProbeServer({ host, port, isReady, refusalLog, now, log }));
  return serverUrl('http', host, probes.port);
}
