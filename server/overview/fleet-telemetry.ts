/** What other nodes of the fleet took in and who sent most to them, for operators: only each node knows what it stored itself since its start. */

import type { FleetTelemetry, NodeIntake, NodeTalkers, SinkState, TalkersOrder } from '../../console/index.ts';
import { Cursor, type Sinks, type Telemetry } from '../../telemetry/index.ts';
import type { FleetQuestions, ToldSink } from '../cluster/fleet-questions.ts';
import { coalesced } from './coalesced.ts';

/** All who ask in this time get what one question found, in ms. */
const KEPT_MS = 1_000;
/** Of each node; an answer has up to 20 KB. */
const TALKERS = 100;

type FleetTelemetryParts = Pick<Telemetry, 'counters' | 'shares'>;

const NOBODY = async () => ({ all: [], unanswered: [] });

/** Undefined questions: the server is alone. */
export function createFleetTelemetry(
  { telemetry, sinks }: { readonly telemetry: FleetTelemetryParts; readonly sinks: Pick<Sinks, 'list' | 'runHere'> },
  questions: Pick<FleetQuestions, 'ask' | 'answerWith'> | undefined,
): FleetTelemetry {
  if (questions === undefined) return { intakes: NOBODY, talkers: NOBODY, sinks: async () => undefined };
  questions.answerWith('intake', () => intakeOf(telemetry));
  questions.answerWith('talkers', (by) => {
    const { devices, groups } = telemetry.shares.today(TALKERS, by);
    return { devices, groups };
  });
  questions.answerWith('sinks', () => (sinks.runHere ? sinks.list() : null));
  const told = coalesced((_: 'sinks') => questions.ask('sinks', null), KEPT_MS);
  const intakes = coalesced((_: 'intake') => questions.ask('intake', null), KEPT_MS);
  const talkers = coalesced((by: TalkersOrder) => questions.ask('talkers', by), KEPT_MS);
  return {
    intakes: async () => found<NodeIntake>(await intakes('intake')),
    talkers: async (by) => found<NodeTalkers>(await talkers(by)),
    async sinks() {
      if (sinks.runHere) return undefined;
      const { answers } = await told('sinks');
      return [...answers.values()].find((list) => list !== null)?.map(readSink);
    },
  };
}

function readSink(sink: ToldSink): SinkState {
  return { ...sink, position: Cursor.parse(String(sink.position)) ?? Cursor.BEGIN };
}

function found<Answer>({ answers, unanswered }: Awaited<ReturnType<FleetQuestions['ask']>>) {
  return { all: [...(answers as ReadonlyMap<string, unknown>).values()] as Answer[], unanswered };
}

function intakeOf(telemetry: FleetTelemetryParts): NodeIntake {
  const { stored, storedQos0, droppedQos0, refused, repeated, commits, queuedBytes, isUnderPressure } =
    telemetry.counters();
  return { stored, storedQos0, droppedQos0, refused, repeated, commits, queuedBytes, isUnderPressure };
}
