import { existsSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { startTemporaryServer } from '../../cli/simulation-server.ts';
import { openConsoleClient } from '../../console/client.ts';

it('a server that is killed while it restarts restarts first, and then again', async () => {
  const server = await startTemporaryServer({ settings: {}, disk: 'shared' });
  onTestFinished(() => server.close());
  await Promise.all([server.restart('restart', 0), server.restart('kill', 0)]);
  expect(existsSync(server.socket)).toBe(true);
  const client = openConsoleClient({ socketPath: server.socket });
  onTestFinished(() => client.close());
  expect(await client.health()).toMatchObject({ status: 'ok' });
});
