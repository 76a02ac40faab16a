import type { MqttVersion, PacketProperties } from '@rollcall/device-sdk/mqtt-codec';
import { describe, expect, it } from 'vitest';
import { readScenario } from '../scenario/read.ts';
import { FLEET_NAMES } from './broker-names.ts';
import { brokerPackets } from './broker-packets.ts';
import { Counters } from './counters.ts';
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

const NEW_SESSION = { isResumed: false, receiveMaximum: 65_535 };

function device(publish: string, { seed = 1, version = 4 }: { seed?: number; version?: MqttVersion } = {}) {
  const read = readScenario(`name: a\nduration: 1h\ndevices: { d: { count: 1, publish: [${publish}] } }`, {
    fileExists: () => false,
  });
  if ('flaws' in read) throw new Error(JSON.stringify(read.flaws));
  const timers = new ManualTimers();
  const now = () => timers.time;
  const context: ShardContext = {
    ...{ timers: timers as unknown as TimerWheel, counters: new Counters(), connector: new TlsConnector(''), now },
    ...{
      serverReturnedAt: 0,
      isRunOver: false,
      names: FLEET_NAMES,
      pacer: { succeeded: () => {}, throttled: () => {} },
      sdk: DEFAULT_SDK_SETTINGS,
    },
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
  const said: {
    readonly id: number;
    readonly seq: number;
    readonly stream: string;
    readonly value: number;
    readonly dup: boolean;
    readonly properties: PacketProperties | undefined;
  }[] = [];
  const reader = brokerPackets(version);
  const connection = { isOpen: true };
  const publisherState = new PublisherState(
    context,
    createPublishers(group, { id: 'a-1', position: 0, seed }, now, FLEET_NAMES),
    {
      version,
      isOpen: () => connection.isOpen,
      write: (bytes) =>
        reader.read(bytes, (packet) => {
          if (packet.kind !== 'publish') return;
          const { topic, packetId: id, payload, dup, properties } = packet;
          const { seq, value } = JSON.parse(payload.toString()) as { readonly seq: number; readonly value: number };
          said.push({ id, seq, stream: topic.slice(topic.lastIndexOf('/') + 1), value, dup, properties });
        }),
    },
  );
  return { publisherState, timers, context, said, connection };
}

const EVERY_SECOND = '{ stream: heat, every: 1s, model: { kind: walk } }';

describe('what a device says', () => {
  it('comes once in each period, also after a silence that was shorter than one', () => {
    const { publisherState, timers, said } = device('{ stream: heat, every: 10s }');
    publisherState.resume(timers.time, NEW_SESSION);
    timers.moveBy(15_000);
    const last = () => Math.max(...said.map(({ seq }) => seq)); // what waits is sent again at each return
    expect(last()).toBe(2);
    for (let time = 0; time < 3; time += 1) {
      publisherState.pause();
      timers.moveBy(100);
      publisherState.resume(timers.time, NEW_SESSION);
    }
    timers.moveBy(100_000);
    expect(last()).toBe(12);
  });

  it('with QoS 1 is kept while nobody hears it, and sent in its order', () => {
    const { publisherState, timers, said, connection } = device(EVERY_SECOND);
    publisherState.resume(timers.time, NEW_SESSION);
    connection.isOpen = false;
    timers.moveBy(5_000);
    expect(said).toEqual([]);
    expect(publisherState.unacknowledged).toBe(5);
    connection.isOpen = true;
    publisherState.resume(timers.time, NEW_SESSION);
    expect(said.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    for (const { id } of said) publisherState.acknowledge(id, 0);
    expect(publisherState.unacknowledged).toBe(0);
    expect(publisherState.acknowledged()).toEqual({ heat: [1, 5] });
  });

  it('is gone with the power when nobody has acknowledged it', () => {
    const { publisherState, timers, context, connection } = device(EVERY_SECOND);
    publisherState.resume(timers.time, NEW_SESSION);
    connection.isOpen = false;
    timers.moveBy(3_000);
    publisherState.dropAll();
    timers.moveBy(3_000);
    expect(publisherState.unacknowledged).toBe(0);
    expect(context.counters.take().counts).toEqual({ sent: 3, dropped: 3 });
  });

  it('with QoS 1 is sent again in a resumed session under its packet identifier, marked as a duplicate', () => {
    const { publisherState, timers, said } = device(EVERY_SECOND);
    publisherState.resume(timers.time, NEW_SESSION);
    timers.moveBy(2_000);
    publisherState.pause();
    publisherState.resume(timers.time, { ...NEW_SESSION, isResumed: true });
    expect(said.map(({ id, seq, dup }) => [id, seq, dup])).toEqual([
      [1, 1, false],
      [2, 2, false],
      [1, 1, true],
      [2, 2, true],
    ]);
    publisherState.pause();
    publisherState.resume(timers.time, NEW_SESSION);
    expect(said.slice(4).map(({ id, seq, dup }) => [id, seq, dup])).toEqual([
      [3, 1, false],
      [4, 2, false],
    ]);
  });

  it('with QoS 1 is never in flight beyond the receive maximum of the broker', () => {
    const { publisherState, timers, said } = device(EVERY_SECOND, { version: 5 });
    publisherState.resume(timers.time, { ...NEW_SESSION, receiveMaximum: 2 });
    timers.moveBy(5_000);
    expect(said.map(({ seq }) => seq)).toEqual([1, 2]);
    publisherState.acknowledge(1, 0);
    expect(said.map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  it('and the broker rejects is not sent again and not acknowledged, and its reason is counted', () => {
    const { publisherState, timers, said, context } = device(EVERY_SECOND, { version: 5 });
    publisherState.resume(timers.time, NEW_SESSION);
    timers.moveBy(3_000);
    publisherState.acknowledge(1, 0x87);
    publisherState.acknowledge(2, 0x10); // no matching subscribers: accepted all the same
    publisherState.acknowledge(3, 0);
    publisherState.resume(timers.time, NEW_SESSION);
    expect(said.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(publisherState.acknowledged()).toEqual({ heat: [2, 3] });
    const { counts, reasons } = context.counters.take();
    expect(counts).toMatchObject({ acknowledged: 2, rejected: 1 });
    expect(reasons).toEqual({ puback_not_authorized: 1, puback_no_matching_subscribers: 1 });
  });

  it.each([
    [
      5,
      {
        userProperties: [
          ['site', 'hall 3'],
          ['line', '7'],
        ],
      },
    ],
    [4, undefined],
  ] as const)(
    'has the user properties of its stream with protocol level %i, where the version knows them',
    (version, properties) => {
      const stream = '{ stream: heat, every: 1s, userProperties: { site: hall 3, line: "7" } }';
      const { publisherState, timers, said } = device(stream, { version });
      publisherState.resume(timers.time, NEW_SESSION);
      timers.moveBy(1_000);
      expect(said.map((message) => message.properties)).toEqual([properties]);
    },
  );

  it('on one stream does not depend on what it says on another', () => {
    const values = (publish: string) => {
      const { publisherState, timers, said } = device(publish, { seed: 7 });
      publisherState.resume(timers.time, NEW_SESSION);
      timers.moveBy(10_000);
      return said.filter(({ stream }) => stream === 'heat').map(({ value }) => value);
    };
    const alone = values(EVERY_SECOND);
    expect(alone.length).toBe(10);
    expect(values(`${EVERY_SECOND}, { stream: load, every: 300ms, spacing: poisson, qos: 0 }`)).toEqual(alone);
  });
});
