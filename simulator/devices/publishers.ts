import { seededRandom } from '../seeded-random.ts';
import { type BrokerNames, topicOf } from './broker-names.ts';
import { Publisher } from './publisher.ts';
import type { GroupContext } from './shard-context.ts';

export interface GroupMember {
  readonly id: string;
  /** From 0 up to but not including 1. */
  readonly position: number;
  readonly seed: number;
}

/** The device's own clock at a moment that is right, for a device that is switched on at `booted`. */
export function deviceClock({ settings }: GroupContext, booted: number): (now: number) => number {
  const { skew, drift } = settings.clock;
  return (now) => now + skew + (now - booted) * (drift / 1e6);
}

export function createPublishers(
  group: GroupContext,
  { id, position, seed }: GroupMember,
  clock: (now: number) => number,
  names: BrokerNames,
): readonly Publisher[] {
  return group.settings.publish.map(
    (stream, at) =>
      new Publisher({ stream, recording: group.recordings.get(stream.stream) }, topicOf(names, id, stream.stream), {
        id,
        position,
        clock,
        random: seededRandom(seed + (at + 1) * STREAM_STEP),
      }),
  );
}

/** A prime apart from that between devices. */
const STREAM_STEP = 7_368_787;
