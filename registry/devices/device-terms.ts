/**
 * The terms under which a device is found: its id and the values of its labels, and each of their words. Terms are in lower case.
 * The term of a whole label is `value=name`, so that one entry serves a search for the label and for the start of its value.
 */

import type Database from 'better-sqlite3';
import type { Labels } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';
import { readLabels } from './labels.ts';

/** A word begins after a dot, underscore or hyphen, and where digits follow a letter. */
const WORD_START = /(?<=[._-])(?=[^._-])|(?<=[a-z])(?=[0-9])/g;
/** Words per id or value, beside the whole: a text of 64 characters could have 32. */
const MAX_WORDS = 8;

/** Behind every character of a term. */
const AFTER_LAST = '\x7f';

interface Described {
  readonly id: string;
  readonly labels: Labels;
}

export function labelTerm(name: string, value: string): string {
  return `${value}=${name}`.toLowerCase();
}

/** The terms that begin with this text: from `least`, up to and without `end`. */
export function termRange(text: string): { readonly least: string; readonly end: string } {
  const least = text.toLowerCase();
  return { least, end: `${least}${AFTER_LAST}` };
}

export function termsOf({ id, labels }: Described): ReadonlySet<string> {
  const terms = new Set([id.toLowerCase(), ...wordsIn(id)]);
  for (const [name, value] of Object.entries(labels)) {
    terms.add(labelTerm(name, value));
    for (const word of wordsIn(value)) terms.add(word);
  }
  return terms;
}

/** The rest of the text from each word but the first. */
function wordsIn(text: string): readonly string[] {
  const lower = text.toLowerCase();
  const starts = [...lower.matchAll(WORD_START)].slice(0, MAX_WORDS);
  return starts.map(({ index }) => lower.slice(index));
}

/** Writes the terms of a device anew. `before`: undefined for a device that has none. `after`: undefined to remove all. */
const INSERT_TERM = 'INSERT INTO device_terms (term, device_id) VALUES (@term, @id) ON CONFLICT DO NOTHING';

export function* writeTerms(tx: Transaction, before: Described | undefined, after: Described | undefined): Steps<void> {
  const old = before === undefined ? new Set<string>() : termsOf(before);
  const next = after === undefined ? new Set<string>() : termsOf(after);
  const id = (after ?? before)?.id ?? '';
  yield* tx.runEach(
    'DELETE FROM device_terms WHERE term = @term AND device_id = @id',
    [...old].filter((term) => !next.has(term)).map((term) => ({ term, id })),
  );
  yield* tx.runEach(
    INSERT_TERM,
    [...next].filter((term) => !old.has(term)).map((term) => ({ term, id })),
  );
}

/** `device_terms(id, labels)`: the terms as JSON. `begins_term(id, labels, text)`: whether one begins with the text. */
export function addTermFunctions(database: Database.Database): void {
  database.function('device_terms', { deterministic: true }, (id, labels) =>
    JSON.stringify([...termsOf({ id: String(id), labels: readLabels(String(labels)) })]),
  );
  database.function('begins_term', { deterministic: true }, (id, labels, text) => {
    const wanted = String(text).toLowerCase();
    for (const term of termsOf({ id: String(id), labels: readLabels(String(labels)) })) {
      if (term.startsWith(wanted)) return 1;
    }
    return 0;
  });
}
