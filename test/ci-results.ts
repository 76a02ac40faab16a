/**
 * The end of a run of `.ci/run`: `node test/ci-results.ts JSON_FILE...`, with reports of Vitest. Prints each failed test with the
 * first lines of its error, so that the last page of a long log is enough, then "N passed, N failed, N skipped". Exit code 1
 * when a test failed, or none passed.
 */

import { readFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';

interface TestReport {
  readonly fullName: string;
  readonly status: string;
  readonly failureMessages?: readonly string[];
}

interface FileReport {
  readonly name: string;
  readonly status: string;
  readonly message?: string;
  readonly assertionResults: readonly TestReport[];
}

interface RunReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests?: number;
  readonly testResults: readonly FileReport[];
}

const LINES_OF_AN_ERROR = 12;

function failure(title: string, error: string): string {
  const lines = stripVTControlCharacters(error).split('\n').slice(0, LINES_OF_AN_ERROR);
  return [`FAILED ${title}`, ...lines.map((line) => `  ${line}`)].join('\n');
}

/** A file that cannot be loaded has no failed test in it, and has failed all the same. */
function isBroken({ status, assertionResults }: FileReport): boolean {
  return status === 'failed' && !assertionResults.some((test) => test.status === 'failed');
}

function failuresIn(file: FileReport): string[] {
  if (isBroken(file)) return [failure(file.name, file.message ?? '')];
  return file.assertionResults
    .filter(({ status }) => status === 'failed')
    .map((test) => failure(`${file.name}: ${test.fullName}`, test.failureMessages?.join('\n') ?? ''));
}

let [passed, failed, skipped] = [0, 0, 0];
for (const path of process.argv.slice(2)) {
  const run = JSON.parse(readFileSync(path, 'utf8')) as RunReport;
  passed += run.numPassedTests;
  failed += run.numFailedTests + run.testResults.filter(isBroken).length;
  skipped += run.numPendingTests + (run.numTodoTests ?? 0);
  for (const line of run.testResults.flatMap(failuresIn)) process.stdout.write(`${line}\n`);
}
process.stdout.write(`${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exitCode = passed > 0 && failed === 0 ? 0 : 1;
