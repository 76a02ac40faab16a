/**
 * The rules of the terminal. Results go to standard output; everything else to standard error. Messages are lower case
 * and end without a full stop. A failure is `rollcall: error: ...`, then at most one `rollcall: hint: ...` with the way
 * out. With `--json` results are one JSON document or one JSON line each, and failures are a problem document.
 */

import { asProblem, type Problem, problemDocument } from '../contract/problem.ts';

export type OutputForm = 'text' | 'json';

/** One exit code per kind of failure; scripts may rely on them. */
export const EXIT = { done: 0, failed: 1, usage: 2, refused: 3, unreachable: 4 } as const;

function exitCodeOf(problem: Problem): number {
  if (problem.code === 'usage' || problem.code === 'config_invalid') return EXIT.usage;
  if (problem.code === 'server_unreachable') return EXIT.unreachable;
  return problem.status >= 400 && problem.status < 500 ? EXIT.refused : EXIT.failed;
}

export function printResult(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

export function note(text: string): void {
  process.stderr.write(`rollcall: ${visibleLines(text)}\n`);
}

/** Says why the command ends, and returns its exit code. */
export function explainFailure(error: unknown, form: OutputForm, now: number): number {
  const problem = asProblem(error);
  if (form === 'json') {
    process.stderr.write(`${JSON.stringify({ ...problemDocument(problem, now), detail: problem.message })}\n`);
  } else {
    // What is quoted may come from a device, a file or a server.
    process.stderr.write(`rollcall: error: ${visibleLines(problem.message)}\n`);
    if (problem.hint !== undefined) process.stderr.write(`rollcall: hint: ${visibleLines(problem.hint)}\n`);
  }
  return exitCodeOf(problem);
}

/** Rows under headings, columns as wide as their widest cell. Control characters in cells are made visible. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [headings, ...rows].map((row) => row.map(visible));
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] as number))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Text from a device, safe for a terminal: no escape sequence survives. */
export function visible(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: making them visible is the purpose
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** The same for text of several lines. */
function visibleLines(text: string): string {
  return text.split('\n').map(visible).join('\n');
}
