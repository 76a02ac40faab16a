/**
 * An operator's command whose server is killed between the act and its answer: the command line sends it again to the next server,
 * which does nothing a second time and reports what is known.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const KILL_ACT = fileURLToPath(new URL('../fixtures/kill-act.ts', import.meta.url));

it.each([
  ['done', /this request began at .*Z and its end is not known; nothing was done again/],
  ['recorded', /this request was answered with status 200 at .*Z; nothing was done again/],
] as const)(
  'a bootstrap token is created once when the server is killed after that was %s',
  async (point, said) => {
    const data = temporaryDirectory();
    const environment = { NODE_OPTIONS: `--import ${KILL_ACT}`, ROLLCALL_TEST_KILL_AT: point };
    const doomed = await serve(data, [], { environment });
    const command = rollcall(['token', 'create', '--data', data]);
    // The server ends itself; this signal has no effect.
    expect(await doomed.end('SIGCONT')).toMatchObject({ signal: 'SIGKILL' });
    const next = await serve(data);
    onTestFinished(async () => {
      await next.end('SIGKILL');
    });
    const { code, stdout, stderr } = await command;
    expect([code === 0, stdout]).toEqual([false, '']);
    expect(stderr).toMatch(said);
    const operator = openConsoleClient({ socketPath: next.ready.socket });
    onTestFinished(() => operator.close());
    expect(await operator.listTokens()).toHaveLength(1);
    const created = await operator.listAudit({ limit: 1_000 });
    expect(created.filter(({ action }) => action === 'token.minted')).toHaveLength(1);
  },
  180_000,
);

it('the text of a bootstrap token is in no file of the registry', async () => {
  const data = temporaryDirectory();
  const server = await serve(data);
  onTestFinished(async () => {
    await server.end('SIGKILL');
  });
  const { stdout } = await rollcall(['token', 'create', '--data', data, '--json']);
  const { text } = JSON.parse(stdout);
  expect(text).toMatch(/^rc1\./);
  const files = readdirSync(data).filter((name) => name.startsWith('registry.db'));
  expect(files).toContain('registry.db');
  for (const name of files) expect(readFileSync(join(data, name)).includes(String(text)), name).toBe(false);
});
