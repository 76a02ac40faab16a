/**
 * Answers questions that come at the same time together, as one statement of a database does. Each is answered with what is true after it was
 * asked: it joins no call that has begun. While as many calls as may run are under way, questions wait for the next one, in order.
 */

import { setImmediate as nextTurn } from 'node:timers/promises';

/** The answers by question; a question without one is answered with undefined. Everybody who asked gets what it throws. */
export type AnswerTogether<Answer> = (questions: readonly string[]) => Promise<ReadonlyMap<string, Answer>>;

interface Asked<Answer> {
  readonly question: string;
  readonly resolve: (answer: Answer | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** A call waits for the database; so many more may be sent meanwhile. */
const IN_FLIGHT = 2;
/** Questions in one call: its statement stays short. */
const MOST_TOGETHER = 1_000;

export class BatchedQuestions<Answer> {
  readonly #answer: AnswerTogether<Answer>;
  #asked: Asked<Answer>[] = [];
  #running = 0;

  constructor(answer: AnswerTogether<Answer>) {
    this.#answer = answer;
  }

  ask(question: string): Promise<Answer | undefined> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ question, resolve, reject });
      if (this.#running < IN_FLIGHT) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running += 1;
    await nextTurn();
    while (this.#asked.length > 0) await this.#answerTo(this.#asked.splice(0, MOST_TOGETHER));
    this.#running -= 1;
  }

  async #answerTo(asked: readonly Asked<Answer>[]): Promise<void> {
    try {
      const answers = await this.#answer([...new Set(asked.map(({ question }) => question))]);
      for (const { question, resolve } of asked) resolve(answers.get(question));
    } catch (error) {
      for (const { reject } of asked) reject(error);
    }
  }
}
