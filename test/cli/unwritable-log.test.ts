/** A log that cannot be written: the server becomes ready, serves, counts what it drops, and ends at SIGTERM. */

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { constants, readFileSync, readSync, truncateSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { collect, ended } from '../fixtures/child-process.ts';
import { installed } from '../fixtures/client-programs.ts';
import { fullDisk, fullPipe, openDuringTest, pipeWithoutReader } from '../fixtures/descriptors.ts';
import { type ProgramOptions, type RunningServer, rollcall, serve, start } from '../fixtures/program.ts';
import { startProcess } from '../fixtures/started-processes.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const VERBOSE = { environment: { ROLLCALL_LOG_LEVEL: 'debug' } };

/** A terminal that has hung up: both ends are opened, then the other end is closed. */
async function goneTerminal(): Promise<ProgramOptions> {
  const script = `
import os, sys
master, slave = os.openpty()
os.set_inheritable(slave, True)
os.dup2(slave, 2)
os.close(master)
os.execvp(sys.argv[1], sys.argv[1:])`;
  return { below: ['python3', '-c', script] };
}

const FILE_LIMIT = 64 * 1_048_576;

/** A log file that has reached the limit of file sizes. */
function fileAtLimit(): { readonly path: string; readonly options: ProgramOptions } {
  const path = join(temporaryDirectory(), 'log');
  writeFileSync(path, '');
  truncateSync(path, FILE_LIMIT);
  const stderr = openDuringTest(path, constants.O_WRONLY | constants.O_APPEND);
  return { path, options: { stderr, below: ['prlimit', `--fsize=${FILE_LIMIT}:unlimited`] } };
}

async function droppedLines(server: RunningServer): Promise<number> {
  const client = openConsoleClient({ socketPath: server.ready.socket });
  try {
    return Number(/^rollcall_log_lines_dropped_total (\d+)$/m.exec(await client.metrics())?.[1]);
  } finally {
    await client.close();
  }
}

/** Expects that the server serves a command, and that it ends at SIGTERM. */
async function expectServing(data: string, server: RunningServer): Promise<void> {
  expect(await rollcall(['token', 'create', '--data', data])).toMatchObject({ code: 0 });
  const { code, signal } = await server.end('SIGTERM');
  expect([code, signal]).toEqual([0, null]);
}

describe('rollcall serve', () => {
  const logs: [string, () => ProgramOptions | Promise<ProgramOptions>][] = [
    ['on a full disk', () => ({ stderr: fullDisk() })],
    ['whose reader went away', () => ({ stderr: pipeWithoutReader() })],
    ['at the limit of file sizes', () => fileAtLimit().options],
  ];
  if (installed('python3')) logs.push(['on a terminal that is gone', goneTerminal]);
  it.each(logs)('serves with a log %s, counts the lines, and ends at SIGTERM', async (_, options) => {
    const data = temporaryDirectory();
    const server = await serve(data, [], { ...VERBOSE, ...(await options()) });
    expect(await droppedLines(server)).toBeGreaterThan(0);
    await expectServing(data, server);
  });

  it('serves while its log is not read, and ends at SIGTERM', async () => {
    const data = temporaryDirectory();
    const server = await serve(data, [], { ...VERBOSE, stderr: fullPipe().writeEnd });
    await expectServing(data, server);
  });

  it('writes the buffered lines when its log is read again', async () => {
    const { writeEnd, readEnd } = fullPipe();
    const server = await serve(temporaryDirectory(), [], { ...VERBOSE, stderr: writeEnd });
    const buffer = Buffer.alloc(1_048_576);
    expect(readSync(readEnd, buffer)).toBeGreaterThan(4_096);
    await server.end('SIGTERM');
    const text = buffer.subarray(0, readSync(readEnd, buffer)).toString();
    expect(text).toMatch(/^\{"level":".*"msg":"stopping"\}$/ms);
  });

  it('logs in one line how many lines were dropped once its log can be written again', async () => {
    const { path, options } = fileAtLimit();
    const server = await serve(temporaryDirectory(), [], { ...VERBOSE, ...options });
    const isWritten = new Promise<void>((resolve) => {
      const watcher = watch(path, () => resolve());
      onTestFinished(() => watcher.close());
    });
    execFileSync('prlimit', ['--pid', String(server.pid), '--fsize=unlimited:unlimited']);
    await isWritten;
    await server.end('SIGTERM');
    const [first = ''] = readFileSync(path).subarray(FILE_LIMIT).toString().trim().split('\n');
    expect(JSON.parse(first)).toMatchObject({
      level: 'warn',
      component: 'log',
      code: 'EFBIG',
      dropped: expect.any(Number),
    });
  });

  it('needs no standard output: an error of it is a line in the log', async () => {
    const data = temporaryDirectory();
    const ports = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0'];
    const child = start(['serve', '--data', data, ...ports], { stdout: fullDisk() });
    const stderr = collect(child.stderr);
    const lines = createInterface({ input: child.stderr as NodeJS.ReadableStream });
    for await (const line of lines) if (line.includes('no space left on device (ENOSPC)')) break;
    expect(await rollcall(['token', 'create', '--data', data])).toMatchObject({ code: 0 });
    child.kill('SIGTERM');
    expect(await ended(child, () => '', stderr)).toMatchObject({ code: 0 });
  });

  it('continues when its terminal is closed: SIGHUP is a line in its log', async () => {
    const data = temporaryDirectory();
    const server = await serve(data);
    process.kill(server.pid, 'SIGHUP');
    await expectServing(data, server);
    expect(server.log()).toContain('"signal":"SIGHUP"');
  });
});

describe('the logger', () => {
  it('buffers 1 MiB for a stalled reader, counts the lines that it drops, and does not prevent the process from ending', async () => {
    const script = `import { createLogger } from './server/logger.ts';
      import { standardError } from './output/standard-streams.ts';
      const log = createLogger('info');
      for (let n = 0; n < 40_000; n += 1) log.info({ filler: '#'.repeat(200) }, 'said');
      const isWritten = await standardError.settled(100);
      process.stdout.write(JSON.stringify({ isWritten, ...standardError.counters() }), () => process.exit());`;
    const child = startProcess(process.execPath, ['--input-type=module', '-e', script], {
      cwd: new URL('../..', import.meta.url),
    });
    const stdout = collect(child.stdout);
    const [code] = await once(child, 'close');
    expect(code).toBe(0);
    const { isWritten, log_lines_dropped_total: dropped } = JSON.parse(stdout());
    expect(isWritten).toBe(false);
    expect(dropped).toBeGreaterThan(30_000);
    expect(dropped).toBeLessThan(40_000);
  });
});

describe('rollcall simulate', () => {
  it('runs to its end with a standard error that cannot be written', async () => {
    const data = temporaryDirectory();
    const server = await serve(data);
    const args = ['simulate', '--devices', '2', '--seconds', '2', '--data', data];
    const run = await rollcall(args, { stderr: fullDisk() });
    expect(run).toMatchObject({ code: 0, stdout: expect.stringContaining('2') });
    await server.end('SIGTERM');
  });
});
