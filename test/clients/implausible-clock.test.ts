/** The program with a wrong clock, which libfaketime changes for this process alone. */

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { describeWithClients, runClient } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/rollcall', import.meta.url));

describeWithClients('a server whose clock is wrong', ['faketime'], () => {
  const serveAt = (date: string, data: string) =>
    runClient('faketime', ['-m', date, process.execPath, PROGRAM, 'serve', '--data', data], {
      directory: join(data, '..'),
    });

  it.each(['1970-01-02 00:00:00', '2100-01-01 00:00:00'])('creates no CA and no directory at %s', async (date) => {
    const data = join(temporaryDirectory(), 'data');
    const { status, stderr } = await serveAt(date, data);
    expect(stderr).toContain(`the clock of this machine cannot be right: it says ${date.slice(0, 4)}`);
    expect(stderr).toContain('hint: set the clock');
    expect(status).toBe(1);
    expect(existsSync(data)).toBe(false);
  });

  it('changes nothing in the data directory of a fleet', async () => {
    const data = join(temporaryDirectory(), 'data');
    mkdirSync(data, { mode: 0o700 });
    const server = await serve(data);
    await server.end('SIGTERM');
    const before = readdirSync(join(data, 'ca'));
    expect((await serveAt('1999-12-31 00:00:00', data)).status).toBe(1);
    expect(readdirSync(join(data, 'ca'))).toEqual(before);
    expect((await rollcall(['audit', 'list', '--data', data])).code).toBe(4);
  });

  it('reports that the clock is behind the audit, and creates no other CA when the clock is set back while it runs', async () => {
    const directory = temporaryDirectory();
    const data = join(directory, 'data');
    const clock = join(directory, 'clock');
    const serveShifted = (shift: string): Promise<RunningServer> => {
      writeFileSync(clock, shift);
      return serve(data, [], { environment: shiftedBy(clock) });
    };
    for (const shift of ['+0d', '+30d']) {
      const server = await serveShifted(shift);
      const operator = openConsoleClient({ socketPath: server.ready.socket });
      expect(await operator.health()).toMatchObject({ status: 'ok', clock: 'ok' });
      await operator.createToken({});
      await operator.close();
      await server.end('SIGTERM');
    }
    const server = await serveShifted('+10d');
    await server.untilLogged('the clock is behind the newest entry of the audit');
    const operator = openConsoleClient({ socketPath: server.ready.socket });
    expect(await operator.health()).toMatchObject({ status: 'degraded', clock: 'behind' });
    const before = readdirSync(join(data, 'ca'));
    writeFileSync(clock, '-7300d');
    for (const role of ['issuing', 'root'] as const) {
      await expect(operator.prepareCa({ role })).rejects.toMatchObject({ code: 'clock_implausible' });
    }
    expect(readdirSync(join(data, 'ca'))).toEqual(before);
    await operator.close();
    await server.end('SIGTERM');
  });
});

/**
 * A clock that a file shifts, also while the program runs; monotonic clocks are unchanged. `faketime` would stay in
 * between and keep signals from the program, so it only says which library it loads.
 */
function shiftedBy(file: string): Readonly<Record<string, string>> {
  const library = execFileSync('faketime', ['-f', '+0', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' }).trim();
  return { LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1', DONT_FAKE_MONOTONIC: '1' };
}
