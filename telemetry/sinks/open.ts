/**
 * Opens the configured sinks: each with a target, a cursor and a dead-letter file of its own. Reads no configuration file and no
 * environment.
 */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { CursorFile } from '../../storage/index.ts';
import { Cursor } from '../cursor.ts';
import type { Position } from '../position.ts';
import type { Telemetry } from '../telemetry.ts';
import { Backoff } from './backoff.ts';
import type { BatchLimits } from './batch.ts';
import { DeadLetters } from './dead-letters.ts';
import type { EmailTargetOptions } from './email-target.ts';
import type { FileTargetOptions } from './file-target.ts';
import { type GroupOf, type SinkFilter, SinkMessageFilter } from './filter.ts';
import { Forwarder, type ForwarderStatus, type SinkCursor } from './forwarder.ts';
import { JournalHead } from './journal-head.ts';
import type { NatsTargetOptions } from './nats-target.ts';
import type { PostgresTargetOptions } from './postgres-target.ts';
import type { SinkSource, Target } from './target.ts';
import type { WebhookTargetOptions } from './webhook-target.ts';

/** A kind, and what its target needs beside what every sink has. */
export type TargetSettings =
  | ({ readonly kind: 'nats' } & Omit<NatsTargetOptions, 'source'>)
  | ({ readonly kind: 'postgres' } & Omit<PostgresTargetOptions, 'source'>)
  | ({ readonly kind: 'webhook' } & Omit<WebhookTargetOptions, 'source' | 'name' | 'trustDomain' | 'now'>)
  | ({ readonly kind: 'email' } & Omit<EmailTargetOptions, 'name' | 'trustDomain' | 'now'>)
  | ({ readonly kind: 'file' } & FileTargetOptions);

export interface SinkSettings {
  /** Names its files too: as a device id. */
  readonly name: string;
  readonly source: SinkSource;
  readonly filter: SinkFilter;
  readonly batch: BatchLimits;
  readonly retry: { readonly first: number; readonly most: number };
  readonly deadLetterBytes: number;
  /** Milliseconds between two deliveries, at the least; then each is a digest of events. */
  readonly every?: number | undefined;
  /** For people: where it goes, without anything secret. */
  readonly destination: string;
  readonly target: TargetSettings;
}

export interface SinkStatus extends ForwarderStatus {
  readonly name: string;
  readonly kind: TargetSettings['kind'];
  readonly source: SinkSource;
  readonly destination: string;
  readonly filter: SinkFilter;
  readonly deadLetterFile: string;
}

export interface SinksOptions {
  readonly settings: readonly SinkSettings[];
  readonly journals: Readonly<Record<SinkSource, Telemetry<string>>>;
  /** Directory of cursors and dead letters. */
  readonly directory: string;
  /** Where the position of a sink is stored; in a file in its directory when left out. */
  readonly cursorOf?: ((settings: SinkSettings) => Promise<SinkCursor>) | undefined;
  readonly trustDomain: string;
  readonly groupOf: GroupOf;
  readonly now: () => number;
  /** From 0 to below 1. */
  readonly random: () => number;
  readonly log: Logger;
  /** Milliseconds between two checks of each target; 5 s when left out. */
  readonly checkEvery?: number;
}

export interface Sinks {
  /** False where another node has the lease to forward. */
  readonly runHere: boolean;
  list(): readonly SinkStatus[];
  /** Forwards again from a position, or from the first message received at or after a time. Problem `sink_unknown`. */
  replay(name: string, from: { readonly position: Position } | { readonly since: number }): Promise<SinkStatus>;
  /** Makes the message that the target doesn't take a dead letter; its position, or undefined when there is none. */
  skip(name: string): Promise<Position | undefined>;
  /** Names as metrics have them. */
  counters(): Readonly<Record<string, number>>;
  /** `graceMs`: how long current deliveries may take; 3 s when left out. */
  close(graceMs?: number): Promise<void>;
}

const RETENTION_CHECK_MS = 60_000;

/** A file that was moved or deleted is noticed so soon, also when no message comes. */
const TARGET_CHECK_MS = 5_000;

/** Time for the current delivery when the server stops, before it is aborted. */
const CLOSE_GRACE_MS = 3_000;

interface Sink {
  readonly settings: SinkSettings;
  readonly forwarder: Forwarder;
  readonly deadLetterFile: string;
}

/** Throws what `openSinks()` would throw for this directory, and changes nothing. */
export function inspectSinks({ settings, directory }: Pick<SinksOptions, 'settings' | 'directory'>): void {
  for (const one of settings) positionFile(directory, one).read();
}

function positionFile(directory: string, { name, source }: SinkSettings): CursorFile<Cursor> {
  return new CursorFile(join(directory, name, `${source}.position`), Cursor.parse);
}

/** Throws Problem `data_directory_unusable`. A target that is down does not prevent the start. */
export async function openSinks(options: SinksOptions): Promise<Sinks> {
  const { journals, log } = options;
  const sinks: Sink[] = [];
  const heads = new Map<SinkSource, JournalHead>();
  for (const settings of options.settings) {
    const { source } = settings;
    const head = heads.get(source) ?? (await JournalHead.of(journals[source]));
    heads.set(source, head);
    sinks.push(await openSink(settings, head, options));
  }
  for (const { settings, forwarder } of sinks) {
    const { name, source, destination, target } = settings;
    log.info(
      { sink: name, kind: target.kind, source, destination, position: forwarder.status().position },
      'sink opened',
    );
    forwarder.start();
  }
  const timer = setInterval(() => {
    for (const { settings, forwarder } of sinks) {
      forwarder
        .checkRetention()
        .catch((error: unknown) => log.error({ err: error, sink: settings.name }, 'retention could not be checked'));
    }
  }, RETENTION_CHECK_MS).unref();

  const targetTimer = setInterval(() => {
    for (const { settings, forwarder } of sinks) {
      forwarder
        .checkTarget()
        .catch((error: unknown) => log.error({ err: error, sink: settings.name }, 'target could not be checked'));
    }
  }, options.checkEvery ?? TARGET_CHECK_MS).unref();

  const find = (name: string): Sink => {
    const sink = sinks.find(({ settings }) => settings.name === name);
    if (sink === undefined) throw new Problem('sink_unknown');
    return sink;
  };

  return {
    runHere: true,
    list: () => sinks.map(statusOf),
    async replay(name, from) {
      const sink = find(name);
      const journal = journals[sink.settings.source];
      await sink.forwarder.replay(await journal.cursorBefore(from));
      log.info({ sink: name, ...from }, 'sink forwards again');
      return statusOf(sink);
    },
    skip: async (name) => (await find(name).forwarder.skip())?.position,
    counters: () => Object.assign({}, ...sinks.map((sink) => countersOf(statusOf(sink)))) as Record<string, number>,
    close: async (graceMs = CLOSE_GRACE_MS) => {
      clearInterval(timer);
      clearInterval(targetTimer);
      await Promise.all(sinks.map(({ forwarder }) => forwarder.close(graceMs)));
    },
  };
}

async function openSink(settings: SinkSettings, head: JournalHead, options: SinksOptions): Promise<Sink> {
  const { journals, directory, groupOf, now, random } = options;
  const own = join(directory, settings.name);
  mkdirSync(own, { recursive: true, mode: 0o700 });
  const log = options.log.child({ sink: settings.name });
  const deadLetterFile = join(own, 'dead-letters.ndjson');
  const forwarder = new Forwarder({
    journal: journals[settings.source],
    head,
    target: await openTarget(settings, options),
    filter: new SinkMessageFilter(settings.filter, groupOf, now),
    cursor: (await options.cursorOf?.(settings)) ?? positionFile(directory, settings),
    deadLetters: new DeadLetters({ file: deadLetterFile, bytes: settings.deadLetterBytes, now, log }),
    batch: settings.batch,
    backoff: new Backoff(settings.retry, random),
    every: settings.every,
    now,
    log,
  });
  return { settings, forwarder, deadLetterFile };
}

/** Loads the client of a target only where there is one: commands start faster without. */
async function openTarget({ name, source, target }: SinkSettings, { trustDomain, now }: SinksOptions): Promise<Target> {
  switch (target.kind) {
    case 'nats': {
      const { NatsTarget } = await import('./nats-target.ts');
      return new NatsTarget({ ...target, source });
    }
    case 'postgres': {
      const { PostgresTarget } = await import('./postgres-target.ts');
      return new PostgresTarget({ ...target, source });
    }
    case 'webhook': {
      const { WebhookTarget } = await import('./webhook-target.ts');
      return new WebhookTarget({ ...target, source, name, trustDomain, now });
    }
    case 'email': {
      const { EmailTarget } = await import('./email-target.ts');
      return new EmailTarget({ ...target, name, trustDomain, now });
    }
    case 'file': {
      const { FileTarget } = await import('./file-target.ts');
      return new FileTarget(target);
    }
  }
}

/** Of a sink that another node runs. */
export function statusElsewhere({ name, source, destination, filter, target }: SinkSettings, now: number): SinkStatus {
  return {
    ...{ name, source, destination, filter, kind: target.kind, deadLetterFile: '' },
    ...{ state: 'stopped', reason: 'another node forwards', isUntrusted: false, since: now },
    ...{ position: Cursor.BEGIN, lagMessages: 0, lagMs: 0, forwarded: 0, filtered: 0, retries: 0 },
    ...{ deadLettered: 0, missed: 0, notice: undefined, losses: 0 },
  };
}

function statusOf({ settings, forwarder, deadLetterFile }: Sink): SinkStatus {
  const { name, source, destination, filter, target } = settings;
  return { ...forwarder.status(), name, kind: target.kind, source, destination, filter, deadLetterFile };
}

function countersOf(status: SinkStatus): Readonly<Record<string, number>> {
  const of = (metric: string) => `sink_${metric}/sink=${status.name}`;
  return {
    [of('up')]: status.state === 'down' ? 0 : 1,
    [of('untrusted')]: status.isUntrusted ? 1 : 0,
    [of('lag_messages')]: status.lagMessages,
    [of('lag_seconds')]: status.lagMs / 1000,
    [of('forwarded_total')]: status.forwarded,
    [of('filtered_total')]: status.filtered,
    [of('retries_total')]: status.retries,
    [of('dead_lettered_total')]: status.deadLettered,
    [of('missed_total')]: status.missed,
    [of('target_losses_total')]: status.losses,
  };
}
