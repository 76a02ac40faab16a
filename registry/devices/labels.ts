import { NAME_RULE, Problem } from '@rollcall/protocol';
import type { Labels } from '../registry.ts';

const MAX_LABELS = 32;
export const LABEL_NAME = /^[A-Za-z][A-Za-z0-9_]{0,31}$/;
const LABEL_VALUE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Throws the Problem of this code unless there are at most 32, each with a name and value that can be used in a topic. */
export function checkLabels(labels: Labels, code: 'token_order_invalid' | 'request_invalid'): void {
  const invalid = (detail: string) => new Problem(code, { detail });
  const entries = Object.entries(labels);
  if (entries.length > MAX_LABELS) {
    throw invalid(`expected at most ${MAX_LABELS} labels, found ${entries.length}`);
  }
  for (const [name, value] of entries) {
    if (!LABEL_NAME.test(name)) {
      throw invalid('expected label names of one to 32 of A-Z a-z 0-9 _, the first a letter');
    }
    if (typeof value !== 'string' || !LABEL_VALUE.test(value)) {
      throw invalid(`expected the value of label ${name} to be ${NAME_RULE}`);
    }
  }
}

export function writeLabels(labels: Labels): string {
  return JSON.stringify(labels);
}

/** Without a prototype, so that a policy that asks for the label `constructor` finds nothing. */
export function readLabels(json: string): Labels {
  const parsed: unknown = JSON.parse(json);
  const labels: Record<string, string> = Object.create(null);
  if (typeof parsed !== 'object' || parsed === null) throw new Error('expected labels, found another value');
  for (const [name, value] of Object.entries(parsed)) {
    if (typeof value !== 'string') throw new Error(`expected text as label ${name}, found ${typeof value}`);
    labels[name] = value;
  }
  return labels;
}
