import type { Logger } from 'pino';
import type { RequestLimits } from '../limits/index.ts';
import type { Cluster } from './cluster/cluster.ts';
import type { Config } from './config/config.ts';
import type { DataDirectory } from './data-directory.ts';
import type { Metrics } from './metrics.ts';
import type { Readiness } from './readiness.ts';

/** The dependencies of every part of a server. */
export interface ServerContext {
  readonly config: Config;
  readonly data: DataDirectory;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The first of the public hosts. */
  readonly publicHost: string;
  readonly version: string;
  readonly limits: RequestLimits;
  readonly metrics: Metrics;
  readonly readiness: Readiness;
  /** Undefined where the store is this machine's alone. */
  readonly cluster: Cluster | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}
