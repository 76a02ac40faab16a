/** A client behind a proxy that ends connections: acts are repeated under their key, questions are not. */

import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest';
import { openTestConsole, type TestConsole } from '../test/fixtures/console/test-console.ts';
import { openConsoleClient } from './client.ts';

let fixture: TestConsole;
let made = 0;
beforeAll(async () => {
  fixture = await openTestConsole();
});
afterAll(() => fixture.close());

/** A client whose first `cuts` connections end when the answer begins; and how many connections it made. */
async function clientWithCuts(cuts: number) {
  const seen = { connections: 0 };
  const proxy = createServer((client) => {
    seen.connections += 1;
    const isCut = seen.connections <= cuts;
    const server = connect(fixture.options.socketPath);
    client.on('error', () => server.destroy()).pipe(server);
    server.on('error', () => client.destroy());
    if (isCut) server.once('data', () => client.destroy());
    else server.pipe(client);
  });
  made += 1;
  const socketPath = join(fixture.dir, `proxy-${made}.sock`);
  await new Promise<void>((resolve) => proxy.listen(socketPath, resolve));
  const client = openConsoleClient({ socketPath });
  onTestFinished(async () => {
    await client.close();
    proxy.close();
  });
  return { client, seen };
}

it('an act whose answer was lost twice is answered by the third connection, and done once', async () => {
  const { client, seen } = await clientWithCuts(2);
  const { token, text } = await client.createToken({ uses: 7 });
  expect(text).toContain(token.id);
  expect(seen.connections).toBe(3);
  expect((await fixture.client.listTokens()).map(({ id }) => id)).toEqual([token.id]);
});

it('a question whose answer was lost is not repeated', async () => {
  const { client, seen } = await clientWithCuts(1);
  await expect(client.listTokens()).rejects.toMatchObject({ code: 'server_unreachable' });
  expect(seen.connections).toBe(1);
});

it('an act that is refused is not repeated', async () => {
  const { client, seen } = await clientWithCuts(0);
  await expect(client.revokeToken({ id: '0'.repeat(16) })).rejects.toMatchObject({ code: 'token_unknown' });
  expect(seen.connections).toBe(1);
});

it('a client that is closed repeats nothing', async () => {
  const { client, seen } = await clientWithCuts(Number.POSITIVE_INFINITY);
  const act = expect(client.createToken({})).rejects.toMatchObject({ code: 'server_unreachable' });
  await expect.poll(() => seen.connections).toBe(2);
  await client.close();
  await act;
  expect(seen.connections).toBeLessThan(4);
});
