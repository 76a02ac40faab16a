/**
 * Strong entity tags (RFC 9110, 8.8.3) of what operators change, and the conditions `If-Match` and `If-None-Match` of a
 * request. The tag is a hash of the JSON that GET answers, so that every server of a fleet makes the same one.
 */

import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { Problem } from '@rollcall/protocol';

const ENTITY_TAG = '(?:W/)?"[\\x21\\x23-\\x7e\\x80-\\xff]*"';
const TAG_LIST = new RegExp(`^[ \\t,]*(?:${ENTITY_TAG}[ \\t]*(?:,[ \\t,]*|$))+$`);

/** With its quotes. */
export function entityTag(entity: unknown): string {
  return `"${createHash('sha256').update(JSON.stringify(entity)).digest('base64url')}"`;
}

export class Preconditions {
  readonly #ifMatch: '*' | readonly string[] | undefined;
  readonly #ifNoneMatch: '*' | readonly string[] | undefined;

  /** Problem `request_invalid` for a header of another form. */
  constructor(headers: IncomingHttpHeaders) {
    this.#ifMatch = readTags('If-Match', headers['if-match']);
    this.#ifNoneMatch = readTags('If-None-Match', headers['if-none-match']);
  }

  /** Before a change: problem `precondition_failed` unless the condition is absent or true of this entity. */
  expectMatch(entity: unknown): void {
    this.#expectTag(entityTag(entity));
    if (this.#ifNoneMatch !== undefined) throw failed('If-None-Match is a condition of GET');
  }

  /** Before a change of what has no entity tag: a condition that cannot be checked is not true. */
  expectNone(): void {
    if (this.#ifMatch !== undefined && this.#ifMatch !== '*') throw failed('what this changes has no entity tag');
  }

  /** Of a GET: whether the client has this entity. Problem `precondition_failed` as of a change. */
  isKnown(tag: string): boolean {
    this.#expectTag(tag);
    if (this.#ifNoneMatch === undefined || this.#ifNoneMatch === '*') return this.#ifNoneMatch === '*';
    return this.#ifNoneMatch.some((known) => known.replace(/^W\//, '') === tag);
  }

  /** A weak tag is never the same as a strong one. */
  #expectTag(tag: string): void {
    if (this.#ifMatch === undefined || this.#ifMatch === '*' || this.#ifMatch.includes(tag)) return;
    throw new Problem('precondition_failed');
  }
}

function readTags(name: string, text: string | undefined): '*' | readonly string[] | undefined {
  if (text === undefined || text === '*') return text;
  if (text.length > 1024 || !TAG_LIST.test(text)) {
    throw new Problem('request_invalid', { detail: `${name}: expected * or entity tags such as "abc"` });
  }
  return text.match(new RegExp(ENTITY_TAG, 'g')) ?? [];
}

function failed(detail: string): Problem {
  return new Problem('precondition_failed', { detail });
}
