/** The webhook with an interval of docs/sinks.md with the real program: the first event at once, then one request about a burst. */

import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { serve } from '../fixtures/program.ts';
import { issueService } from '../fixtures/service.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const SECRET = 'a secret of enough characters';

interface Event {
  readonly type: string;
  readonly subject?: string;
  readonly data: object;
}

async function startReceiver() {
  const requests: { readonly events: readonly Event[]; readonly isSigned: boolean }[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature } = request.headers;
    const mac = createHmac('sha256', SECRET).update(`${id}.${at}.${body}`).digest('base64');
    requests.push({ events: JSON.parse(body), isSigned: signature === `v1,${mac}` });
    response.writeHead(204).end();
    server.emit('received');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const until = async (count: number) => {
    while (requests.length < count) await once(server, 'received');
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/on-call`, requests, until };
}

it('a burst of revocations reaches a webhook as the first of them, and one request with their number', async () => {
  const directory = temporaryDirectory();
  const receiver = await startReceiver();
  const [config, secret] = [join(directory, 'rollcall.yaml'), join(directory, 'secret')];
  writeFileSync(secret, SECRET, { mode: 0o600 });
  const page = readFileSync(new URL('../../docs/sinks.md', import.meta.url), 'utf8');
  const example = /```yaml\n(sinks:\n {2}- name: on-call\n[^`]+)```/.exec(page)?.[1] as string;
  const here = example
    .replace('https://hooks.example.com/on-call', receiver.url)
    .replace('/etc/rollcall/on-call.secret', secret)
    .replace('every: 5m', 'every: 5s');
  writeFileSync(config, here);
  const server = await serve(join(directory, 'data'), ['--config', config]);
  onTestFinished(async () => {
    await server.end('SIGKILL');
  });
  const operator = openConsoleClient({ socketPath: server.ready.socket });
  onTestFinished(() => operator.close());
  for (const name of ['one', 'two', 'three']) await issueService({ operator, mqttUrl: server.ready.mqttUrl }, name);

  await operator.revokeService({ name: 'one' });
  await receiver.until(1);
  for (const name of ['two', 'three']) await operator.revokeService({ name });
  await receiver.until(2);
  const [first, second] = receiver.requests;
  expect(first).toMatchObject({ isSigned: true, events: [{ type: 'fleet.cert.revoked', subject: 'services/one' }] });
  expect(second?.isSigned).toBe(true);
  expect(second?.events).toMatchObject([
    { type: 'fleet.sink.summary', data: { events: 2, included: 2, types: { 'cert.revoked': 2 } } },
    { type: 'fleet.cert.revoked', subject: 'services/two' },
    { type: 'fleet.cert.revoked', subject: 'services/three' },
  ]);
});
