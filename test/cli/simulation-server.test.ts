import { once } from 'node:events';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it, onTestFinished } from 'vitest';
import { startTemporaryServer } from '../../cli/simulation-server.ts';
import { openConsoleClient } from '../../console/client.ts';
import { isGone } from '../fixtures/processes.ts';
import { startProcess } from '../fixtures/started-processes.ts';

it('a server that is killed while it restarts restarts first, and then again', async () => {
  const server = await startTemporaryServer({ settings: {}, disk: 'shared' });
  onTestFinished(() => server.close());
  await Promise.all([server.restart('restart', 0), server.restart('kill', 0)]);
  expect(existsSync(server.socket)).toBe(true);
  const client = openConsoleClient({ socketPath: server.socket });
  onTestFinished(() => client.close());
  expect(await client.health()).toMatchObject({ status: 'ok' });
});

it('a temporary server ends when the simulation that started it is killed', async () => {
  const script = `
    import { startTemporaryServer } from './cli/simulation-server.ts';
    console.log((await startTemporaryServer({ settings: {}, disk: 'shared' })).data);`;
  const simulation = startProcess(process.execPath, ['--input-type=module', '-e', script], {
    cwd: new URL('../..', import.meta.url),
  });
  const [data] = (await once(createInterface({ input: simulation.stdout }), 'line')) as [string];
  onTestFinished(() => rmSync(dirname(data), { recursive: true, force: true }));
  const pid = Number(readFileSync(join(data, 'server.pid'), 'utf8'));
  expect(isGone(pid)).toBe(false);
  simulation.kill('SIGKILL');
  await expect.poll(() => isGone(pid)).toBe(true);
});
