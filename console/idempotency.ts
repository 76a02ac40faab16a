/**
 * Acts under the header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a repetition within 24 hours
 * is answered as the first request was, and does nothing. The registry has which acts began and ended; answers are in the
 * memory of this process alone, because some contain a secret, and within bounds. An act that was refused did nothing, and
 * leaves its key free.
 */

import { createHash, createHmac } from 'node:crypto';
import { asProblem, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Actor, KeyedAct, RecordedAct, Registry } from '../registry/index.ts';
import { AnswerMemory } from './answer-memory.ts';

const KEY_TEXT = String.raw`[\x21\x23-\x5b\x5d-\x7e]`;
/** A string of RFC 9651 without escapes, or the same characters without quotes. */
const KEY_HEADER = new RegExp(`^(?:"(${KEY_TEXT}{1,128})"|(${KEY_TEXT}{1,128}))$`);
/** Seconds; an act takes less than one in most cases. */
const RETRY_RUNNING_AFTER = 1;

export interface IdempotentActsOptions {
  readonly registry: Pick<Registry, 'beginAct' | 'endAct' | 'forgetAct'>;
  readonly log: Logger;
  readonly now: () => number;
}

export interface ActRequest {
  readonly operator: Actor;
  /** As the client sent it; undefined without the header. */
  readonly header: string | undefined;
  /** Everything that tells this request from another. */
  readonly identity: readonly unknown[];
}

export interface ActAnswer {
  readonly answer: unknown;
  readonly isReplay: boolean;
}

export class IdempotentActs {
  readonly #registry: IdempotentActsOptions['registry'];
  readonly #log: Logger;
  readonly #answers: AnswerMemory;
  readonly #running = new Set<string>();

  constructor({ registry, log, now }: IdempotentActsOptions) {
    this.#registry = registry;
    this.#log = log;
    this.#answers = new AnswerMemory(now);
  }

  /**
   * Does `work`, or returns what it answered before. Throws what `work` throws or threw. Problem `request_invalid` for a
   * header of another form, `idempotency_key_reused`, `idempotency_key_running`, `idempotency_answer_lost` or
   * `idempotency_outcome_unknown` for a repetition that cannot be answered; then nothing was done.
   */
  async perform({ operator, header, identity }: ActRequest, work: () => Promise<unknown>): Promise<ActAnswer> {
    if (header === undefined) return { answer: await work(), isReplay: false };
    const key = readKey(header);
    const act: KeyedAct = { operator, keyHash: createHash('sha256').update(key).digest() };
    const name = `${operator} ${Buffer.from(act.keyHash).toString('base64url')}`;
    // Keyed, so that nobody can find a passphrase of the request by what is stored.
    const fingerprint = createHmac('sha256', key).update(JSON.stringify(identity)).digest();
    const recorded = await this.#registry.beginAct({ ...act, fingerprint });
    if (recorded !== undefined) return this.#repeat(name, recorded, fingerprint);
    this.#running.add(name);
    try {
      return { answer: await this.#performOnce(act, name, work), isReplay: false };
    } finally {
      this.#running.delete(name);
    }
  }

  async #performOnce(act: KeyedAct, name: string, work: () => Promise<unknown>): Promise<unknown> {
    let answer: unknown;
    try {
      answer = await work();
    } catch (error) {
      const problem = asProblem(error);
      if (mayHaveActed(problem)) {
        this.#answers.put(name, act.operator, { problem });
        await this.#record(() => this.#registry.endAct(act, problem.status));
      } else await this.#record(() => this.#registry.forgetAct(act));
      throw error;
    }
    this.#answers.put(name, act.operator, { text: JSON.stringify(answer) });
    await this.#record(() => this.#registry.endAct(act, 200));
    return answer;
  }

  /** The act is done: a registry that cannot write now does not change its answer. */
  async #record(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      this.#log.error({ err: error }, 'end of an act under an idempotency key was not recorded');
    }
  }

  #repeat(name: string, recorded: RecordedAct, fingerprint: Uint8Array): ActAnswer {
    if (!Buffer.from(recorded.fingerprint).equals(fingerprint)) throw new Problem('idempotency_key_reused');
    const known = this.#answers.get(name);
    if (known !== undefined) {
      if ('problem' in known) throw known.problem;
      return { answer: JSON.parse(known.text), isReplay: true };
    }
    if (recorded.ended !== undefined) {
      const { at, status } = recorded.ended;
      const when = new Date(at).toISOString();
      throw new Problem('idempotency_answer_lost', {
        detail: `this request was answered with status ${status} at ${when}; nothing was done again, and the answer is no longer known`,
      });
    }
    if (this.#running.has(name)) {
      throw new Problem('idempotency_key_running', { retryAfter: RETRY_RUNNING_AFTER });
    }
    const begunAt = new Date(recorded.begunAt).toISOString();
    throw new Problem('idempotency_outcome_unknown', {
      detail: `this request began at ${begunAt} and its end is not known; nothing was done again: look up whether it was done`,
    });
  }
}

/** A refusal is decided before anything is changed; these come from what failed meanwhile or afterwards. */
function mayHaveActed({ status }: Problem): boolean {
  return status >= 500 && status !== 503;
}

function readKey(header: string): string {
  const [, quoted, bare] = KEY_HEADER.exec(header) ?? [];
  const key = quoted ?? bare;
  if (key !== undefined) return key;
  throw new Problem('request_invalid', {
    detail: 'Idempotency-Key: expected 1 to 128 printable characters of ASCII without spaces, quotes and backslashes',
  });
}
