/** The program under another date: libfaketime moves its clock, and nothing else. */

import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { rollcall, serve } from '../testkit/program.ts';
import { describeWithClients, runClient } from '../testkit/real-client.ts';
import { temporaryDirectory } from '../testkit/temporary.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/rollcall', import.meta.url));

describeWithClients('a server whose clock is wrong', ['faketime'], () => {
  const serveAt = (date: string, data: string) =>
    runClient('faketime', ['-m', date, process.execPath, PROGRAM, 'serve', '--data', data], {
      directory: join(data, '..'),
      patienceMs: 60_000,
    });

  it.each(['1970-01-02 00:00:00', '2100-01-01 00:00:00'])('makes no CA at %s, and no directory', async (date) => {
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
});
