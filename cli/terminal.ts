import {
  BROKEN_PIPE_EXIT_CODE,
  escapeControls,
  escapeControlsInLines,
  jsonText,
  OutputLostError,
  standardError,
  standardOutput,
  systemReason,
} from '@rollcall/output';
import { asProblem, Problem, problemDocument } from '@rollcall/protocol';
export type OutputForm = 'text' | 'json';

/** Exit codes by kind of failure. Scripts may rely on them. */
export const EXIT = { done: 0, failed: 1, usage: 2, refused: 3, unreachable: 4, timedOut: 5, offline: 6 } as const;

function exitCodeOf(problem: Problem): number {
  if (problem.code === 'usage' || problem.code === 'config_invalid') return EXIT.usage;
  if (problem.code === 'server_unreachable') return EXIT.unreachable;
  if (problem.code === 'command_timed_out') return EXIT.timedOut;
  if (problem.code === 'device_offline') return EXIT.offline;
  return problem.status >= 400 && problem.status < 500 ? EXIT.refused : EXIT.failed;
}

export function printResult(text: string): void {
  standardOutput.write(escapeControlsInLines(text.endsWith('\n') ? text : `${text}\n`));
}

export function printJson(value: unknown): void {
  standardOutput.write(`${jsonText(value)}\n`);
}

/** Prints chunks of text, at the speed of the reader. */
export async function printStream(chunks: AsyncIterable<string | Uint8Array>): Promise<void> {
  for await (const chunk of chunks) {
    standardOutput.write(chunk);
    await standardOutput.drained();
  }
}

export function note(text: string): void {
  standardError.write(`rollcall: ${escapeControlsInLines(text)}\n`);
}

/** Prints why the command failed, and returns its exit code. Prints nothing when the reader of standard output has closed it. */
export function explainFailure(error: unknown, form: OutputForm, now: number): number {
  if (error instanceof OutputLostError && error.isBrokenPipe) return BROKEN_PIPE_EXIT_CODE;
  const problem = asProblem(outputFailure(error) ?? descriptorShortage(error) ?? error);
  if (form === 'json') {
    standardError.write(`${jsonText({ ...problemDocument(problem, now), detail: problem.message })}\n`);
  } else {
    // Quoted text may come from a device, a file or a server.
    const hint = problem.hint === undefined ? '' : `rollcall: hint: ${escapeControlsInLines(problem.hint)}\n`;
    standardError.write(`rollcall: error: ${escapeControlsInLines(problem.message)}\n${hint}`);
  }
  return exitCodeOf(problem);
}

/** Error codes of a file system that is full or read-only. */
const WRITE_FAILURES: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS']);

function outputFailure(error: unknown): Problem | undefined {
  if (error instanceof OutputLostError) {
    return new Problem('output_failed', { reason: `standard output: ${error.message}`, cause: error });
  }
  const failed = error as NodeJS.ErrnoException;
  if (!(error instanceof Error) || !WRITE_FAILURES.has(failed.code ?? '')) return undefined;
  return new Problem('output_failed', { reason: `${failed.path ?? 'a file'}: ${systemReason(failed)}`, cause: error });
}

/** Node reports it by code or in the message of another error. */
function descriptorShortage(error: unknown): Problem | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'EMFILE' && code !== 'ENFILE' && !/\bE[MN]FILE\b|too many open files/.test(error.message))
    return undefined;
  return new Problem('unavailable', {
    detail: 'no file descriptor is left',
    reason: error.message,
    hint: 'raise the limit of open files (ulimit -n, LimitNOFILE)',
    cause: error,
  });
}

/**
 * Prints rows under headings. Without rows nothing is printed on standard output, and `nothing` on standard error, so that a
 * person sees an answer and a program that reads the rows gets none.
 */
export function printTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  { nothing }: { readonly nothing: string },
): void {
  if (rows.length === 0) note(nothing);
  else printResult(table(headings, rows));
}

/** How far a time is away, in its two largest units: `in 3d 4h`, `5m ago`. */
export function timeAway(at: number, now: number): string {
  const minutes = Math.floor(Math.abs(at - now) / 60_000);
  const parts = [
    [Math.floor(minutes / 1440), 'd'],
    [Math.floor(minutes / 60) % 24, 'h'],
    [minutes % 60, 'm'],
  ] as const;
  const first = parts.findIndex(([amount]) => amount > 0);
  const shown =
    first === -1
      ? 'a moment'
      : parts
          .slice(first, first + 2)
          .flatMap(([n, unit]) => (n > 0 ? `${n}${unit}` : []))
          .join(' ');
  return at >= now ? `in ${shown}` : `${shown} ago`;
}

/** `1 device`, `3 devices`. */
export function counted(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}

/** Rows under headings, columns as wide as their widest cell. Control characters in cells are made visible. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [headings, ...rows].map((row) => row.map(escapeControls));
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
