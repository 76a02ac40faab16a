/** The one judgement on a history: counts, and everything that must not be. Pure. */

import { type History, historiesByDevice, type StoredState } from './history.ts';
import { checkMessages, type MessageFindings } from './message-checks.ts';
import { checkOwners } from './owner-checks.ts';
import { checkRevocation } from './revocation-checks.ts';
import { checkTokens } from './token-checks.ts';

export interface Verdict extends MessageFindings {
  /** Connections for which something was done after another one had their client id. */
  readonly secondOwners: readonly string[];
  /** What was done for a device after the proof of its revocation. */
  readonly afterProof: readonly string[];
  readonly tokens: readonly string[];
}

const VIOLATIONS = [
  ['lost', 'lost'],
  ['storedTwice', 'stored twice'],
  ['misplaced', 'out of order'],
  ['unknown', 'never published'],
  ['secondOwners', 'second owners'],
  ['afterProof', 'after a proof'],
  ['tokens', 'token uses too many'],
] as const satisfies readonly (readonly [keyof Verdict, string])[];

export function checkHistory(history: History, stored: StoredState): Verdict {
  const byDevice = historiesByDevice(history);
  const messages = byDevice.map((one) => checkMessages(one, stored.messages.get(one.device) ?? []));
  const known = new Set(byDevice.map(({ device }) => device));
  const strangers = [...stored.messages].filter(([device]) => !known.has(device));
  const sum = (name: 'acknowledged' | 'stored') => messages.reduce((total, found) => total + found[name], 0);
  const all = (name: 'lost' | 'storedTwice' | 'misplaced' | 'unknown') => messages.flatMap((found) => found[name]);
  return {
    acknowledged: sum('acknowledged'),
    stored: sum('stored'),
    lost: all('lost'),
    storedTwice: all('storedTwice'),
    misplaced: all('misplaced'),
    unknown: [...all('unknown'), ...strangers.flatMap(([device, keys]) => keys.map((key) => `${device} ${key}`))],
    secondOwners: byDevice.flatMap(checkOwners),
    afterProof: byDevice.flatMap(checkRevocation),
    tokens: checkTokens(history, stored.tokens),
  };
}

/** Each violation as a line that begins with its kind; none for a history without. */
export function violationsOf(verdict: Verdict): readonly string[] {
  return VIOLATIONS.flatMap(([name, title]) => verdict[name].map((one) => `${title}: ${one}`));
}

/** One line: `acknowledged 1200, stored 1203, lost 0, stored twice 0, ...`. */
export function describeVerdict(verdict: Verdict): string {
  const { acknowledged, stored } = verdict;
  const counts = VIOLATIONS.map(([name, title]) => `${title} ${verdict[name].length}`);
  return [`acknowledged ${acknowledged}`, `stored ${stored}`, ...counts].join(', ');
}
