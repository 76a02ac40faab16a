import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import type { ConsoleClient } from '../console/client.ts';
import { examineRunningServer } from './server-findings.ts';

/** A port of this machine on which nothing listens. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

it('a public name at which nothing listens is a failed check with its address, after what the server says of itself', async () => {
  const enrollUrl = `https://127.0.0.1:${await closedPort()}`;
  const own = { check: 'version', outcome: 'ok', found: 'rollcall' } as const;
  const server = {
    examineServer: async () => ({ findings: [own], enrollUrls: [enrollUrl], rootSha256: '0'.repeat(64) }),
  } as unknown as ConsoleClient;
  const [first, network, ...rest] = await examineRunningServer(server);
  expect(first).toBe(own);
  expect(network).toMatchObject({ check: 'network', outcome: 'failed', fix: expect.stringContaining('--public-host') });
  expect(network?.found).toContain(`EST at ${enrollUrl.slice('https://'.length)}: `);
  expect(network?.found).toContain('ECONNREFUSED');
  expect(rest).toEqual([]);
});
