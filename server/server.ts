/**
 * The whole server: the order in which its parts are opened, and closed again. What each part is given stands in
 * `fleet-memory.ts` and `fleet-doors.ts`, what they tell each other in `fleet-introductions.ts`. Reads no flag and prints nothing.
 */

import type { Logger } from 'pino';
import { createRequestLimits } from '../limits/index.ts';
import { lockDirectory } from '../storage/index.ts';
import { readRestoredNote, removeRestoredNote } from './backup/restored-note.ts';
import { openFleetAuthority } from './certificate-authority.ts';
import { isClockBehind, newestAuditTime } from './clock.ts';
import type { Config } from './config/config.ts';
import { openDataDirectory } from './data-directory.ts';
import { DescriptorWatch } from './descriptor-watch.ts';
import { openFleetDoors } from './listeners.ts';
import { type Counted, Metrics } from './metrics.ts';
import { OpenParts } from './open-parts.ts';
import { openFleetMemory } from './stores.ts';
import { introduceRooms } from './wiring.ts';

export interface FleetServerOptions {
  readonly config: Config;
  readonly version: string;
  /** Where sinks find credentials that are named by a variable. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  /** Counters of the log's destination. */
  readonly logLines?: Counted;
}

export interface FleetServer {
  readonly enrollUrl: string;
  readonly mqttUrl: string;
  readonly consoleUrl: string;
  /** `http://host:port` for those who check certificates; undefined unless it was asked for. */
  readonly certificateStatusUrl: string | undefined;
  /** Path of the operator socket. */
  readonly socket: string;
  /** Path of the root certificate, PEM. */
  readonly trustBundle: string;
  /** Disconnects clients, flushes the journal, frees every address. Idempotent. */
  close(): Promise<void>;
}

/** Starts everything or nothing: when one part can't start, those before it are closed again, and its Problem is thrown. */
export async function startFleetServer(options: FleetServerOptions): Promise<FleetServer> {
  const opened = new OpenParts();
  try {
    return await start(options, opened);
  } catch (error) {
    await opened.close();
    throw error;
  }
}

async function start(
  { config, version, environment = {}, now, log, logLines }: FleetServerOptions,
  opened: OpenParts,
): Promise<FleetServer> {
  const data = openDataDirectory(config.data);
  // Before anything in it is opened, and until all of it is closed.
  const lock = lockDirectory(data.path);
  opened.add({ close: async () => lock.release() });
  const publicHost = config.publicHosts[0] as string;
  const descriptors = opened.add(new DescriptorWatch({ log, now: () => performance.now() }));
  const restored = readRestoredNote(data.path);
  const after = restored && 'restore';

  const requestLimits = createRequestLimits({
    requestsPerSecondPerAddress: config.requests.perSecondPerAddress,
    refusalLogsPerMinute: config.mqtt.limits.refusalLogsPerMinute,
  });

  // Memory, data, and the keys that vouch for them; then the doors, and last who hears of what.
  const metrics = new Metrics({ version, log });
  metrics.collectFrom('descriptors', descriptors);
  metrics.collectFrom('refusals', requestLimits.refusalLog);
  if (logLines !== undefined) metrics.collectFrom('logLines', logLines);
  const memory = await openFleetMemory({ config, data, after, environment, metrics, now, log }, opened);
  const { registry } = memory;
  const audited = await newestAuditTime(registry);
  if (isClockBehind(now(), audited)) {
    const newestEntry = new Date(audited).toISOString();
    log.warn(
      { newestEntry },
      'the clock is behind the newest entry of the audit; set it before certificates are issued',
    );
  }
  const { authority, statusUrl } = opened.add(
    await openFleetAuthority({
      config,
      directory: data.authority,
      publicHost,
      registry,
      environment,
      requestLimits,
      now,
      log: log.child({ component: 'enroll' }),
    }),
  );

  if (restored !== undefined) {
    log.warn({ ...restored }, 'restored from a backup: what was revoked after it was taken is not revoked');
    await registry.recordAction({
      actor: 'server/restore',
      action: 'fleet.restored',
      subject: `backup/${restored.takenAt}`,
      outcome: 'done',
      details: { restoredAt: restored.restoredAt },
    });
    removeRestoredNote(data.path);
  }

  const doors = await openFleetDoors(
    {
      config,
      data,
      memory,
      authority,
      requestLimits,
      publicHost,
      version,
      now,
      log,
      clock: () => (isClockBehind(now(), audited) ? 'behind' : 'ok'),
      metrics,
    },
    opened,
  );
  await introduceRooms({ memory, authority, doors, trustBundle: data.trustBundle, log }, opened);

  return {
    enrollUrl: doors.enrollUrl,
    mqttUrl: doors.mqttUrl,
    consoleUrl: doors.operators.url,
    certificateStatusUrl: statusUrl,
    socket: data.socket,
    trustBundle: data.trustBundle,
    close: () => opened.close(),
  };
}
