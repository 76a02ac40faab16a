/** Findings of the doctor as text: one line per check, and what to do below it, as `rollcall-device doctor` prints them. */

import type { Finding } from '../console/index.ts';

const MARKS = { ok: 'ok', warning: 'warning', failed: 'FAILED', skipped: '-' } as const;
const CHECK_WIDTH = 13;
const MARK_WIDTH = 9;

export function findingText({ check, outcome, found, fix }: Finding): string {
  const line = `${check.padEnd(CHECK_WIDTH)}${MARKS[outcome].padEnd(MARK_WIDTH)}${found}`;
  return fix === undefined ? line : `${line}\n${' '.repeat(CHECK_WIDTH + MARK_WIDTH)}-> ${fix}`;
}
