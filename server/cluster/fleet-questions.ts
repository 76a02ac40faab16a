/**
 * What the servers of a fleet ask each other beside what concerns sessions. Inputs and answers are plain JSON. A node whose release does not
 * know a question does not answer it, and a field may be missing in an answer of another release.
 */

import type { NodeReports } from '../../broker/index.ts';
import type {
  ChallengeUse,
  Finding,
  NodeFigures,
  NodeIntake,
  NodeTalkers,
  ServerHistory,
  SinkState,
  TalkersOrder,
} from '../../console/index.ts';

/** As JSON has it: the position of a sink is a number or a text. */
export type ToldSink = Omit<SinkState, 'position'> & { readonly position: unknown };

interface Call<Input, Output> {
  readonly input: Input;
  readonly output: Output;
}

export interface FleetCalls {
  readonly figures: Call<null, NodeFigures>;
  /** Of so many minutes. */
  readonly history: Call<number, ServerHistory>;
  readonly findings: Call<null, readonly Finding[]>;
  /** Whether this node made the challenge, and had not used it. */
  readonly challenge: Call<ChallengeUse, boolean>;
  readonly intake: Call<null, NodeIntake>;
  readonly talkers: Call<TalkersOrder, NodeTalkers>;
  /** Null where another node forwards. */
  readonly sinks: Call<null, readonly ToldSink[] | null>;
}

type Read<Name extends keyof FleetCalls> = (
  input: FleetCalls[Name]['input'],
) => FleetCalls[Name]['output'] | Promise<FleetCalls[Name]['output']>;

export interface FoundAnswers<Output> {
  /** Of other nodes, by their names. */
  readonly answers: ReadonlyMap<string, Output>;
  /** Other nodes that are heard and did not answer within a second. */
  readonly unanswered: readonly string[];
}

export class FleetQuestions {
  readonly #reports: Pick<NodeReports, 'ask' | 'answerWith'>;
  readonly #reads = new Map<string, (input: never) => unknown>();

  constructor(reports: Pick<NodeReports, 'ask' | 'answerWith'>) {
    this.#reports = reports;
    reports.answerWith((question) => {
      const { about, input } = question as { readonly about: string; readonly input: never };
      return this.#reads.get(about)?.(input);
    });
  }

  /** Answers other nodes from now on. */
  answerWith<Name extends keyof FleetCalls>(about: Name, read: Read<Name>): void {
    this.#reads.set(about, read);
  }

  /** Asks all other nodes that are heard, and waits a second at most. Throws Problem `rate_limited`. */
  async ask<Name extends keyof FleetCalls>(
    about: Name,
    input: FleetCalls[Name]['input'],
  ): Promise<FoundAnswers<FleetCalls[Name]['output']>> {
    const { reports, unanswered } = await this.#reports.ask({ about, input });
    return { answers: reports as ReadonlyMap<string, FleetCalls[Name]['output']>, unanswered };
  }
}
