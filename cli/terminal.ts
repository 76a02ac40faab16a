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
