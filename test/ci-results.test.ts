import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runProcess } from './fixtures/started-processes.ts';

const PROGRAM = join(import.meta.dirname, 'ci-results.ts');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rollcall-results-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

interface Test {
  readonly fullName: string;
  readonly status: 'passed' | 'failed' | 'pending';
  readonly failureMessages?: readonly string[];
}

function report(file: { status: string; message?: string; tests: readonly Test[] }): string {
  const count = (status: string) => file.tests.filter((test) => test.status === status).length;
  const path = join(folder, `${randomUUID()}.json`);
  writeFileSync(
    path,
    JSON.stringify({
      numPassedTests: count('passed'),
      numFailedTests: count('failed'),
      numPendingTests: count('pending'),
      testResults: [{ name: 'a.test.ts', status: file.status, message: file.message, assertionResults: file.tests }],
    }),
  );
  return path;
}

const PASSED: Test = { fullName: 'a door opens', status: 'passed' };

describe('the end of a run of continuous integration', () => {
  it('adds up the reports, and exits with 0 when every test passed', async () => {
    const once = report({ status: 'passed', tests: [PASSED, { fullName: 'a window opens', status: 'pending' }] });
    const { code, stdout } = await runProcess(process.execPath, [PROGRAM, once, once]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '2 passed, 0 failed, 2 skipped\n' });
  });

  it('names each failed test, with its error, before the sum', async () => {
    const error = `\u001b[31mAssertionError\u001b[39m: expected 1 to be 2${'\n    at line'.repeat(100)}`;
    const failed: Test = { fullName: 'a door closes', status: 'failed', failureMessages: [error] };
    const { code, stdout } = await runProcess(process.execPath, [
      PROGRAM,
      report({ status: 'failed', tests: [PASSED, failed] }),
    ]);
    const lines = stdout.split('\n');
    expect(lines.slice(0, 2)).toEqual(['FAILED a.test.ts: a door closes', '  AssertionError: expected 1 to be 2']);
    expect(lines.slice(-2)).toEqual(['1 passed, 1 failed, 0 skipped', '']);
    expect(lines.length).toBeLessThan(20);
    expect(code).toBe(1);
  });

  it('counts a file that could not be loaded as failed', async () => {
    const broken = report({ status: 'failed', message: 'SyntaxError: unexpected token', tests: [] });
    const passed = report({ status: 'passed', tests: [PASSED] });
    const { code, stdout } = await runProcess(process.execPath, [PROGRAM, passed, broken]);
    expect(stdout).toBe('FAILED a.test.ts\n  SyntaxError: unexpected token\n1 passed, 1 failed, 0 skipped\n');
    expect(code).toBe(1);
  });

  it('fails when no test ran', async () => {
    const { code } = await runProcess(process.execPath, [PROGRAM, report({ status: 'passed', tests: [] })]);
    expect(code).toBe(1);
  });
});
