/** Standard output that fails: a closed pipe ends a command silently, a full disk with one error. */

import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fullDisk, pipeWithoutReader } from '../fixtures/descriptors.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { runProcess } from '../fixtures/started-processes.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/rollcall', import.meta.url));
const READER_GONE = 141;
/** More than the buffer of a pipe. */
const MESSAGES = 300;
const FILLER = '#'.repeat(1_000);

let data: string;
let server: RunningServer;

beforeAll(async () => {
  data = mkdtempSync(join(tmpdir(), 'rollcall-lost-output-'));
  server = await serve(data);
  const { stdout: token } = await rollcall(['token', 'create', '--data', data, '--uses', '100']);
  const client = await openMqtt(await enrollOnce(memoryIdentityStore(), { token: token.trim(), deviceId: 'dev-1' }));
  for (let n = 0; n < MESSAGES; n += 1) {
    await client.publishAsync('devices/dev-1/telemetry/count', JSON.stringify({ n, FILLER }), { qos: 1 });
  }
  await client.endAsync();
});
afterAll(async () => {
  await server?.end('SIGTERM');
  rmSync(data, { recursive: true, force: true });
});

const COMMANDS: readonly (readonly string[])[] = [
  ['telemetry', 'query', '--device', 'dev-1'],
  ['telemetry', 'last'],
  ['telemetry', 'series', '--device', 'dev-1', '--stream', 'count', '--value', '/n', '--since', '1h', '--bucket', '1m'],
  ['telemetry', 'export'],
  ['telemetry', 'export', '--format', 'csv'],
  ['telemetry', 'stats'],
  ['audit', 'list'],
  ['audit', 'export'],
  ['audit', 'verify'],
  ['events', 'list'],
  ['device', 'list'],
  ['device', 'show', 'dev-1'],
  ['token', 'list'],
  ['token', 'create'],
  ['certificates', 'expiring'],
  ['ca', 'show'],
  ['policy', 'show', 'default'],
  ['group', 'profile', 'show', 'default'],
  ['renewals', 'status'],
  ['policy', 'explain', 'dev-1', 'publish', 'devices/dev-1/telemetry/count'],
  ['ca', 'csr'],
  ['simulate', '--devices', '1', '--seconds', '1'],
];

const HELP: readonly (readonly string[])[] = [['--help'], ['telemetry', '--help'], ['--version']];

const named = (commands: readonly (readonly string[])[]) => commands.map((parts) => [parts.join(' '), parts] as const);

const SENTENCE = 'the output could not be written: standard output: no space left on device (ENOSPC)';

describe('a closed pipe as standard output', () => {
  it.each(named([...COMMANDS.map((command) => [...command, '--data', 'DATA']), ...HELP]))(
    'ends rollcall %s without an error',
    async (_, command) => {
      const { code, stderr } = await rollcall(at(command), { stdout: pipeWithoutReader() });
      // Notes beside the output are for the terminal, whether the output has a reader or not.
      expect([code, stderr.match(/^(?!rollcall: ).*\S.*|^rollcall: (error|hint): .*/gm)]).toEqual([READER_GONE, null]);
    },
  );
});

describe('a full disk behind standard output', () => {
  it.each(named(COMMANDS.map((command) => [...command, '--json', '--data', 'DATA'])))(
    'ends rollcall %s with a problem document',
    async (_, command) => {
      const { code, stderr } = await rollcall(at(command), { stdout: fullDisk() });
      expect(JSON.parse(stderr)).toMatchObject({ code: 'output_failed', detail: SENTENCE });
      expect(code).toBe(1);
    },
  );

  it.each(named([['telemetry', 'query', '--device', 'dev-1', '--data', 'DATA'], ...HELP]))(
    'ends rollcall %s with an error',
    async (_, command) => {
      const { code, stderr } = await rollcall(at(command), { stdout: fullDisk() });
      expect([code, stderr]).toEqual([1, `rollcall: error: ${SENTENCE}\n`]);
    },
  );
});

function at(command: readonly string[]): readonly string[] {
  return command.map((part) => (part === 'DATA' ? data : part));
}

describe('rollcall', () => {
  it.each(
    named([
      ['telemetry', 'query', '--device', 'dev-1', '--limit', '1000'],
      ['telemetry', 'query', '--device', 'dev-1', '--limit', '1000', '--json'],
      ['telemetry', 'export'],
      ['telemetry', 'export', '--format', 'csv'],
    ]),
  )('%s gives its first line to head, and ends silently', async (_, parts) => {
    const script = '"$@" | head -1; echo "${PIPESTATUS[0]}"';
    const bash = ['--norc', '-c', script, 'bash', process.execPath, PROGRAM, ...parts, '--data', data];
    const { code, stdout, stderr } = await runProcess('bash', bash);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout.trim().split('\n')).toEqual([expect.stringMatching(/dev-1|^position/), String(READER_GONE)]);
  });

  it('telemetry tail ends silently at the first message after the pipe was closed', async () => {
    const tail = rollcall(['telemetry', 'tail', '--data', data], { stdout: pipeWithoutReader() });
    const { stdout: token } = await rollcall(['token', 'create', '--data', data]);
    const client = await openMqtt(await enrollOnce(memoryIdentityStore(), { token: token.trim() }));
    const talking = setInterval(() => client.publish(`devices/${client.options.clientId}/telemetry/t`, '1'), 100);
    expect(await tail).toMatchObject({ code: READER_GONE, stderr: '' });
    clearInterval(talking);
    await client.endAsync();
  });

  it('reports an error when its output file is on a full disk', async () => {
    const { code, stderr } = await rollcall(['telemetry', 'export', '--out', '/dev/full', '--data', data]);
    expect([code, stderr]).toEqual([
      1,
      'rollcall: error: the output could not be written: /dev/full: no space left on device (ENOSPC)\n',
    ]);
  });

  it('stops a simulation whose output pipe was closed, and removes its files', async () => {
    const temporary = join(temporaryDirectory(), 'tmp');
    mkdirSync(temporary);
    const { code } = await rollcall(['simulate', '--scenario', 'smoke', '--json'], {
      stdout: pipeWithoutReader(),
      environment: { TMPDIR: temporary },
    });
    expect(code).toBe(READER_GONE);
    expect(readdirSync(temporary)).toEqual([]);
  });
});
