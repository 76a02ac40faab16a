/** Sinks: their state, and the operations of operators. Every operation is audited. */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import { performAnnouncedAction } from '../../registry/index.ts';
import { type Cursor, type Position, parsePosition, positionNumber } from '../../telemetry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { sinkEndpoints as endpoints } from '../api/sinks.ts';
import { isoTime } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

export interface SinkState {
  readonly name: string;
  readonly kind: string;
  readonly source: 'telemetry' | 'events';
  readonly destination: string;
  readonly filter: Readonly<Record<'devices' | 'groups' | 'streams', readonly string[]>>;
  readonly state: 'starting' | 'forwarding' | 'idle' | 'down' | 'stopped';
  readonly reason: string | undefined;
  readonly isUntrusted: boolean;
  readonly since: number;
  readonly position: Cursor;
  readonly lagMessages: number;
  readonly lagMs: number;
  readonly forwarded: number;
  readonly filtered: number;
  readonly retries: number;
  readonly deadLettered: number;
  readonly missed: number;
  readonly notice: { readonly at: number; readonly text: string } | undefined;
  readonly deadLetterFile: string;
}

/** What operators can do with sinks. Throws Problem `sink_unknown`. */
export interface SinkControl {
  list(): readonly SinkState[];
  replay(name: string, from: { readonly position: Position } | { readonly since: number }): Promise<SinkState>;
  skip(name: string): Promise<Position | undefined>;
}

export function addSinkRoutes(app: FastifyInstance, { registry, sinks, controls }: RoutesOptions): void {
  addEndpoint(app, endpoints.listSinks, async () =>
    ((await controls.otherNodes.sinks()) ?? sinks.list()).map(viewSink),
  );
  addEndpoint(app, endpoints.replaySink, async ({ params: { name }, body, actor }) => {
    const { position = 1 } = body;
    const from =
      body.since === undefined ? { position: parsePosition(position) as Position } : { since: Date.parse(body.since) };
    const details: Readonly<Record<string, number>> = from.since === undefined ? { position } : { since: from.since };
    const outcome = () => [{ action: 'sink.replayed', details }];
    const action = { name: 'sink.replay', actor, subject: subjectOf(name), details, outcome };
    return viewSink(await performAnnouncedAction(registry, action, () => sinks.replay(name, from)));
  });
  addEndpoint(app, endpoints.skipSink, async ({ params: { name }, actor }) => {
    const outcome = (position: Position | undefined) => [
      position === undefined
        ? { action: 'sink.skip.ended' }
        : { action: 'sink.skipped', details: { position: positionNumber(position) } },
    ];
    const action = { name: 'sink.skip', actor, subject: subjectOf(name), outcome };
    const skipped = await performAnnouncedAction(registry, action, () => sinks.skip(name));
    return skipped === undefined ? {} : { skipped: positionNumber(skipped) };
  });

  /** Checks that the sink exists before the action is announced. */
  function subjectOf(name: string): string {
    if (!sinks.list().some((sink) => sink.name === name)) throw new Problem('sink_unknown');
    return `sink/${name}`;
  }
}

function viewSink(state: SinkState) {
  const { position, lagMs, since, filter, notice, ...rest } = state;
  const { devices, groups, streams } = filter;
  return {
    ...rest,
    position: position.toJSON(),
    ...(notice !== undefined && { notice: notice.text, noticedAt: isoTime(notice.at) }),
    since: isoTime(since),
    lagSeconds: lagMs / 1000,
    filter: { devices: [...devices], groups: [...groups], streams: [...streams] },
  };
}
