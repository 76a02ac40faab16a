/** What every carrier of wakes between nodes must do. */

import { EventEmitter, once } from 'node:events';
import { expect, it, onTestFinished } from 'vitest';
import type { RemoteWakesOptions } from '../../storage/remote-wakes.ts';
import type { Wakes } from '../../storage/wakes.ts';

export const NEVER = 2 ** 31 - 1;

export interface WakesFixture {
  /** The wakes of one node of a fleet. */
  open(fleet: string, options: RemoteWakesOptions): Wakes | Promise<Wakes>;
  /** Cuts the connection of each node that is open. */
  cut(): Promise<unknown>;
}

export interface Node {
  readonly wakes: Wakes;
  /** Emits the name of a channel, `connected` and `lost`. */
  readonly events: EventEmitter;
}

/** Resolves when it is connected; no interval wakes it. */
export async function startNode(
  fixture: WakesFixture,
  fleet: string,
  channels: readonly string[] = [],
  options: RemoteWakesOptions = {},
): Promise<Node> {
  const events = new EventEmitter();
  const connected = once(events, 'connected');
  const wakes = await fixture.open(fleet, {
    onConnected: () => events.emit('connected'),
    onLost: () => events.emit('lost'),
    ...{ atLeastEvery: NEVER, whileLost: NEVER },
    ...options,
  });
  onTestFinished(() => wakes.close());
  for (const channel of channels) wakes.onWake(channel, () => events.emit(channel));
  // Each connect wakes everyone.
  const woken = channels.map((channel) => once(events, channel));
  await Promise.all([connected, ...woken]);
  return { wakes, events };
}

export function describeWakes(fixtureOf: () => WakesFixture | Promise<WakesFixture>): void {
  it('reach the listeners of their channel on every node, also on the one that wakes', async () => {
    const fixture = await fixtureOf();
    const nodes = await Promise.all([1, 2, 3].map(() => startNode(fixture, 'fleet', ['audit', 'inbox:node-1.x'])));
    let others = 0;
    for (const { events } of nodes) events.on('audit', () => (others += 1));
    const woken = nodes.map(({ events }) => once(events, 'inbox:node-1.x'));
    nodes[0]?.wakes.wake('inbox:node-1.x');
    await Promise.all(woken);
    expect(others).toBe(0);
  });

  it('become one where many come at once', async () => {
    const fixture = await fixtureOf();
    const waking = await startNode(fixture, 'fleet');
    const listening = await startNode(fixture, 'fleet', ['audit', 'end']);
    let count = 0;
    listening.events.on('audit', () => (count += 1));
    const end = once(listening.events, 'end');
    for (let wakes = 0; wakes < 1000; wakes += 1) waking.wakes.wake('audit');
    waking.wakes.wake('end');
    await end;
    expect(count).toBe(1);
  });

  it('do not reach another fleet on the same server', async () => {
    const fixture = await fixtureOf();
    const one = await startNode(fixture, 'fleet', ['audit']);
    const other = await startNode(fixture, 'another', ['audit']);
    let count = 0;
    other.events.on('audit', () => (count += 1));
    const woken = once(other.events, 'audit');
    one.wakes.wake('audit');
    other.wakes.wake('audit');
    await woken;
    expect(count).toBe(1);
  });

  it('come once to everyone after a lost connection, and go on', async () => {
    const fixture = await fixtureOf();
    const waking = await startNode(fixture, 'fleet', ['audit']);
    const listening = await startNode(fixture, 'fleet', ['audit']);
    const woken = [waking, listening].map(({ events }) => once(events, 'audit'));
    await fixture.cut();
    await Promise.all(woken);
    const again = once(listening.events, 'audit');
    waking.wakes.wake('audit');
    await again;
  });

  it('come at intervals without any cause', async () => {
    const fixture = await fixtureOf();
    const { events } = await startNode(fixture, 'fleet', ['audit'], { atLeastEvery: 10 });
    let count = 0;
    events.on('audit', () => (count += 1));
    await expect.poll(() => count).toBeGreaterThan(3);
  });
}
