/** Sinks: how they are, and what operators order of them. Every order stands in the audit. */

import type { FastifyInstance } from 'fastify';
import { sinkEndpoints as endpoints } from '../api/sinks.ts';
import { serve } from '../application.ts';
import { isoTime } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

interface SinkState {
  readonly name: string;
  readonly kind: string;
  readonly source: 'telemetry' | 'events';
  readonly destination: string;
  readonly filter: Readonly<Record<'devices' | 'groups' | 'streams', readonly string[]>>;
  readonly state: 'starting' | 'forwarding' | 'idle' | 'down' | 'stopped';
  readonly reason: string | undefined;
  readonly since: number;
  readonly position: number;
  readonly isUntrusted: boolean;
  readonly lagMessages: number;
  readonly lagMs: number;
  readonly forwarded: number;
  readonly filtered: number;
  readonly retries: number;
  readonly deadLettered: number;
  readonly missed: number;
  readonly deadLetterFile: string;
}

/** The part of the sinks that operators see. Throws Problem `sink_unknown`. */
export interface SinkControl {
  list(): readonly SinkState[];
  replay(name: string, from: { readonly position: number } | { readonly since: number }): Promise<SinkState>;
  skip(name: string): Promise<number | undefined>;
}

export function addSinkRoutes(app: FastifyInstance, { registry, sinks }: RoutesOptions): void {
  serve(app, endpoints.listSinks, () => sinks.list().map(viewSink));
  serve(app, endpoints.replaySink, async ({ params: { name }, body, actor }) => {
    const from = body.since === undefined ? { position: body.position ?? 1 } : { since: Date.parse(body.since) };
    const state = await sinks.replay(name, from);
    const details: Readonly<Record<string, number>> = from;
    await registry.recordAct({ actor, action: 'sink.replayed', subject: `sink/${name}`, outcome: 'done', details });
    return viewSink(state);
  });
  serve(app, endpoints.skipSink, async ({ params: { name }, actor }) => {
    const skipped = await sinks.skip(name);
    if (skipped === undefined) return {};
    const details = { position: skipped };
    await registry.recordAct({ actor, action: 'sink.skipped', subject: `sink/${name}`, outcome: 'done', details });
    return { skipped };
  });
}

function viewSink(state: SinkState) {
  const { lagMs, since, filter, ...rest } = state;
  const { devices, groups, streams } = filter;
  return {
    ...rest,
    since: isoTime(since),
    lagSeconds: lagMs / 1000,
    filter: { devices: [...devices], groups: [...groups], streams: [...streams] },
  };
}
