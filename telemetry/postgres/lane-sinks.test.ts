/** Sinks and streams of the console over a journal of several nodes. */

import { expect, it } from 'vitest';
import { findStreamStart, type StreamSource, streamEvents } from '../../console/event-stream.ts';
import { liveBatch } from '../../console/live-feed.ts';
import { message, texts } from '../../test/behaviour/telemetry-messages.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { openNode } from '../../test/fixtures/postgres-journal.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { ScriptedTarget, startSink } from '../../test/fixtures/sink.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { parsePosition } from '../position.ts';
import { TargetDown } from '../sinks/target.ts';
import type { Telemetry } from '../telemetry.ts';

const send = (node: Telemetry, device: string, from: number, to: number) =>
  Promise.all(Array.from({ length: to - from }, (_, i) => node.accept(message(device, `${device} ${from + i}`))));

const sorted = (device: string, from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => `${device} ${from + i}`);

describeWithClients('a journal of several nodes', ['postgres'], () => {
  const postgres = suitePostgres();

  it('is forwarded by a sink, each message once and those of a device in order, over restarts and failures', async () => {
    const database = await postgres().open();
    const [a, b] = [await openNode(database, 'a'), await openNode(database, 'b')];
    const directory = temporaryDirectory();
    await Promise.all([send(a, 'x', 0, 70), send(b, 'y', 0, 70)]);
    const target = new ScriptedTarget();
    const first = await startSink({ journal: a, target, directory, batch: 30 });
    await first.caughtUp();
    await Promise.all([send(a, 'x', 70, 140), send(b, 'y', 70, 140)]);
    await first.until(({ forwarded }) => forwarded === 280);
    await first.forwarder.close(1000);
    await send(b, 'y', 140, 170);
    let failures = 2;
    target.answer = () => {
      failures -= 1;
      if (failures >= 0) throw new TargetDown('expected a target, found none');
      return [];
    };
    const delivered = target.batches.length;
    const second = await startSink({ journal: b, target, directory, batch: 30 });
    const status = await second.until(({ forwarded }) => forwarded === 30);
    expect(status).toMatchObject({ missed: 0, retries: 2, lagMessages: 0 });
    const arrived = texts([...target.batches.slice(0, delivered), ...target.batches.slice(-1)].flat());
    for (const [device, count] of [
      ['x', 140],
      ['y', 170],
    ] as const) {
      expect(arrived.filter((text) => text.startsWith(device))).toEqual(sorted(device, 0, count));
    }
  });

  it('is replayed by a sink from a message on, and from a time on', async () => {
    const database = await postgres().open();
    const [a, b] = [await openNode(database, 'a'), await openNode(database, 'b')];
    await send(a, 'x', 0, 20);
    await send(b, 'y', 0, 20);
    const first = await b.cursorBefore({ position: parsePosition(1) as never });
    expect(first.distanceTo((await b.bounds()).end)).toBe(40);
    const since = await a.cursorBefore({ since: 0 });
    expect(since.distanceTo((await a.bounds()).end)).toBe(40);
    await expect(a.cursorBefore({ since: Date.UTC(2040, 0, 1) })).rejects.toMatchObject({ code: 'request_invalid' });
  });

  it('is a stream of server-sent events that resumes on another node, each message once', async () => {
    const database = await postgres().open();
    const [a, b] = [await openNode(database, 'a'), await openNode(database, 'b')];
    const sourceOf = (journal: Telemetry): StreamSource => {
      const view = ({ position, cursor, payload }: Parameters<Parameters<Telemetry['follow']>[1]>[0]) => ({
        ...{ position, cursor, json: JSON.stringify(`${payload}`) },
      });
      return {
        bounds: () => journal.bounds(),
        follow: (listener) => journal.follow(undefined, (stored) => listener(liveBatch([view(stored)]))),
        pages: async function* (after) {
          for await (const page of journal.pages({ after })) yield page.map(view);
        },
      };
    };
    /** Reads until so many events came; returns them and the last id. */
    const read = async (
      journal: Telemetry,
      lastId: string | undefined,
      count: number,
      meanwhile: () => Promise<unknown>,
    ) => {
      const enough = Promise.withResolvers<void>();
      const events: string[] = [];
      let id = lastId ?? '';
      const flow = {
        send: (block: string | Buffer) => {
          for (const text of `${block}`.split('\n\n').filter((one) => one !== '')) {
            const data = /^data: (.*)$/m.exec(text)?.[1];
            if (events.length === count) return;
            id = /^id: (.*)$/m.exec(text)?.[1] ?? id;
            if (data !== undefined) events.push(JSON.parse(data));
            if (events.length === count) enough.resolve();
          }
        },
        drained: async () => {},
        fail: enough.reject,
      };
      const source = sourceOf(journal);
      const stop = streamEvents(
        source,
        await findStreamStart(source, lastId === undefined ? {} : { 'last-event-id': lastId }),
        flow,
      );
      await meanwhile();
      await enough.promise;
      stop();
      return { events, id };
    };
    await Promise.all([send(a, 'x', 0, 10), send(b, 'y', 0, 10)]);
    const all = Promise.all.bind(Promise);
    const first = await read(a, '0', 13, async () => {});
    const second = await read(b, first.id, 20, () => all([send(a, 'x', 10, 30), send(b, 'y', 10, 30)]));
    const third = await read(a, second.id, 40, () => all([send(a, 'x', 30, 40), send(b, 'y', 30, 40)]));
    const events = [...first.events, ...second.events, ...third.events];
    const missing = [...sorted('x', 0, 40), ...sorted('y', 0, 40)].filter((text) => !events.includes(text));
    expect(new Set(events).size).toBe(events.length);
    const rest = await read(b, third.id, missing.length, async () => {});
    expect(new Set(rest.events)).toEqual(new Set(missing));
  });
});
