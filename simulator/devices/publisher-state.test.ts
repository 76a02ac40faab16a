import { describe, expect, it } from 'vitest';
import { readScenario } from '../scenario/read.ts';
import { Counters } from './counters.ts';
import { PacketReader, PUBLISH, readPublish } from './mqtt-packets.ts';
import { PublisherState } from './publisher-state.ts';
import { createPublishers } from './publishers.ts';
import { DEFAULT_SDK_SETTINGS, type GroupContext, type ShardContext } from './shard-context.ts';
import type { TimerWheel } from './timer-wheel.ts';
import { TlsConnector } from './tls-connections.ts';

/** A timer wheel whose time is moved by the test. */
class ManualTimers implements Pick<TimerWheel, 'at' | 'now'> {
  time = 1_000_000;
  #entries: { readonly due: number; readonly run: () => void }[] = [];

  now(): number {
    return this.time;
  }

  at(due: number, run: () => void): number {
    this.#entries.push({ due, run });
    return due;
  }

  moveBy(milliseconds: number): void {
    const end = this.time + milliseconds;
    for (;;) {
      const next = this.#entries.filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)[0];
      if (next === undefined) break;
      this.#entries.splice(this.#entries.indexOf(next), 1);
      this.time = Math.max(this.time, next.due);
      next.run();
    }
    this.time = end;
  }
}

function device(publish: string, seed = 1) {
  const read = readScenario(`name: a\nduration: 1h\ndevices: { d: { count: 1, publish: [${publish}] } }`, {
    fileExists: () => false,
  });
  if ('flaws' in read) throw new Error(JSON.stringify(read.flaws));
  const timers = new ManualTimers();
  const now = () => timers.time;
  const context: ShardContext = {
    ...{ timers: timers as unknown as TimerWheel, counters: new Counters(), connector: new TlsConnector(''), now },
    ...{ serverReturnedAt: 0, isRunOver: false, sdk: DEFAULT_SDK_SETTINGS },
  };
  const group: GroupContext = {
    ...{
      name: 'd',
      settings: read.scenario.devices.d as GroupContext['settings'],
      token: undefined,
      estClient: undefined,
    },
    ...{ target: () => ({ host: '', port: 0 }), recordings: new Map(), faults: [] },
  };
  const said: { readonly id: number; readonly seq: number; readonly stream: string; readonly value: number }[] = [];
  const reader = new PacketReader();
  const connection = { isOpen: true };
  const publisherState = new PublisherState(context, createPublishers(group, { id: 'a-1', position: 0, seed }, now), {
    isOpen: () => connection.isOpen,
    write: (packet) =>
      reader.push(packet, (first, body) => {
        if (first >> 4 !== PUBLISH) return;
        const { topic, packetId, payload } = readPublish(first, body);
        const { seq, value } = JSON.parse(payload.toString()) as { readonly seq: number; readonly value: number };
        said.push({ id: packetId, seq, stream: topic.slice(topic.lastIndexOf('/') + 1), value });
      }),
  });
  return { publisherState, timers, context, said, connection };
}

const EVERY_SECOND = '{ stream: heat, every: 1s, model: { kind: walk } }';

describe('what a device says', () => {
  it('comes once in each period, also after a silence that was shorter than one', () => {
    const { publisherState, timers, said } = device('{ stream: heat, every: 10s }');
    publisherState.resume(timers.time);
    timers.moveBy(15_000);
    const last = () => Math.max(...said.map(({ seq }) => seq)); // what waits is sent again at each return
    expect(last()).toBe(2);
    for (let time = 0; time < 3; time += 1) {
      publisherState.pause();
      timers.moveBy(100);
      publisherState.resume(timers.time);
    }
    timers.moveBy(100_000);
    expect(last()).toBe(12);
  });

  it('with QoS 1 is kept while nobody hears it, and sent in its order', () => {
    const { publisherState, timers, said, connection } = device(EVERY_SECOND);
    publisherState.resume(timers.time);
    connection.isOpen = false;
    timers.moveBy(5_000);
    expect(said).toEqual([]);
    expect(publisherState.unacknowledged).toBe(5);
    connection.isOpen = true;
    publisherState.resume(timers.time);
    expect(said.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    for (const { id } of said) publisherState.acknowledge(id);
    expect(publisherState.unacknowledged).toBe(0);
    expect(publisherState.acknowledged()).toEqual({ heat: [1, 5] });
  });

  it('is gone with the power when nobody has acknowledged it', () => {
    const { publisherState, timers, context, connection } = device(EVERY_SECOND);
    publisherState.resume(timers.time);
    connection.isOpen = false;
    timers.moveBy(3_000);
    publisherState.dropAll();
    timers.moveBy(3_000);
    expect(publisherState.unacknowledged).toBe(0);
    expect(context.counters.take().counts).toEqual({ sent: 3, dropped: 3 });
  });

  it('on one stream does not depend on what it says on another', () => {
    const values = (publish: string) => {
      const { publisherState, timers, said } = device(publish, 7);
      publisherState.resume(timers.time);
      timers.moveBy(10_000);
      return said.filter(({ stream }) => stream === 'heat').map(({ value }) => value);
    };
    const alone = values(EVERY_SECOND);
    expect(alone.length).toBe(10);
    expect(values(`${EVERY_SECOND}, { stream: load, every: 300ms, spacing: poisson, qos: 0 }`)).toEqual(alone);
  });
});
