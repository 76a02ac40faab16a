/** Answers of acts, in memory alone: some contain a secret. The oldest are forgotten at a limit of bytes, per operator and of all. */

import type { Problem } from '@rollcall/protocol';
import { IDEMPOTENCY_KEY_LIFE_MS } from '../registry/index.ts';

/** JSON, or the failure. */
export type KnownAnswer = { readonly text: string } | { readonly problem: Problem };

/** In UTF-16 code units of JSON, and this much for each answer beside its text. */
const MAX_LENGTH = 16_777_216;
const MAX_LENGTH_PER_OPERATOR = 2_097_152;
const OVERHEAD = 256;

interface Entry {
  readonly operator: string;
  readonly answer: KnownAnswer;
  readonly length: number;
  readonly until: number;
}

export class AnswerMemory {
  readonly #now: () => number;
  /** In the order of their arrival. */
  readonly #entries = new Map<string, Entry>();
  readonly #lengths = new Map<string, number>();
  #length = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** An answer that is longer than the limit of an operator is not stored. */
  put(name: string, operator: string, answer: KnownAnswer): void {
    const length = OVERHEAD + ('text' in answer ? answer.text.length : answer.problem.message.length);
    this.#forget(name);
    this.#forgetOutdated();
    if (length > MAX_LENGTH_PER_OPERATOR) return;
    this.#makeRoom(length, MAX_LENGTH_PER_OPERATOR, () => this.#lengths.get(operator) ?? 0, operator);
    this.#makeRoom(length, MAX_LENGTH, () => this.#length);
    this.#entries.set(name, { operator, answer, length, until: this.#now() + IDEMPOTENCY_KEY_LIFE_MS });
    this.#count(operator, length);
  }

  get(name: string): KnownAnswer | undefined {
    this.#forgetOutdated();
    return this.#entries.get(name)?.answer;
  }

  #makeRoom(length: number, limit: number, used: () => number, operator?: string): void {
    for (const [name, entry] of this.#entries) {
      if (used() + length <= limit) return;
      if (operator === undefined || entry.operator === operator) this.#forget(name);
    }
  }

  #forgetOutdated(): void {
    for (const [name, { until }] of this.#entries) {
      if (until > this.#now()) return;
      this.#forget(name);
    }
  }

  #forget(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    this.#count(entry.operator, -entry.length);
  }

  #count(operator: string, change: number): void {
    const length = (this.#lengths.get(operator) ?? 0) + change;
    if (length === 0) this.#lengths.delete(operator);
    else this.#lengths.set(operator, length);
    this.#length += change;
  }
}
