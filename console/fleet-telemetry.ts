/** What each node alone knows of telemetry, and the sums over the nodes of a fleet. */

import type { TelemetryCounters } from '../telemetry/index.ts';
import type { SinkState } from './routes/sinks.ts';

export type TalkersOrder = 'bytes' | 'messages';

/** Since the node was started. */
export type NodeIntake = Pick<
  TelemetryCounters,
  'stored' | 'storedQos0' | 'droppedQos0' | 'refused' | 'repeated' | 'commits' | 'queuedBytes' | 'isUnderPressure'
>;

/** What was stored since the day began. */
export interface Talker {
  readonly name: string;
  readonly messages: number;
  readonly bytes: number;
  readonly isHeld: boolean;
}

export interface NodeTalkers {
  readonly devices: readonly Talker[];
  readonly groups: readonly Talker[];
}

/** Of other nodes, none where the server is alone; `unanswered` did not answer in time. */
export interface OtherNodes<Found> {
  readonly all: readonly Found[];
  readonly unanswered: readonly string[];
}

export interface FleetTelemetry {
  intakes(): Promise<OtherNodes<NodeIntake>>;
  talkers(by: TalkersOrder): Promise<OtherNodes<NodeTalkers>>;
  /** Of the node that forwards; undefined where that is this one, or did not answer. */
  sinks(): Promise<readonly SinkState[] | undefined>;
}

/** What else is in the first one stays its own. */
export function sumOfIntakes<Own extends NodeIntake>(own: Own, others: readonly NodeIntake[]): Own {
  const all = [own, ...others];
  const sum = (of: (intake: NodeIntake) => number) => all.reduce((total, intake) => total + of(intake), 0);
  return {
    ...own,
    stored: sum(({ stored }) => stored),
    storedQos0: sum(({ storedQos0 }) => storedQos0),
    droppedQos0: sum(({ droppedQos0 }) => droppedQos0),
    refused: sum(({ refused }) => refused),
    repeated: sum(({ repeated }) => repeated),
    commits: sum(({ commits }) => commits),
    queuedBytes: sum(({ queuedBytes }) => queuedBytes),
    isUnderPressure: all.some(({ isUnderPressure }) => isUnderPressure),
  };
}

/** A device that moved has stored by several nodes, and a group by many. The largest come first. */
export function sumOfTalkers(all: readonly (readonly Talker[])[], most: number, by: TalkersOrder): readonly Talker[] {
  const sums = new Map<string, Talker>();
  for (const { name, messages, bytes, isHeld } of all.flat()) {
    const sum = sums.get(name) ?? { name, messages: 0, bytes: 0, isHeld: false };
    sums.set(name, {
      name,
      messages: sum.messages + messages,
      bytes: sum.bytes + bytes,
      isHeld: sum.isHeld || isHeld,
    });
  }
  return [...sums.values()].sort((one, other) => other[by] - one[by]).slice(0, most);
}
