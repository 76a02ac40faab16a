import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeCertificate } from '../../test/fixtures/console/test-console.ts';
import { askNode } from './node-client.ts';

let server: Server;
let order: { readonly url: string; readonly path: string; readonly rootsPem: string; readonly body: object };
let asked = Promise.withResolvers<void>();

/** It answers byte by byte, and never ends. */
beforeAll(async () => {
  const tls = await makeCertificate('slow');
  server = createServer(tls, (_, response) => {
    const timer = setInterval(() => response.write(' '), 5);
    response.on('close', () => clearInterval(timer)).on('error', () => {});
    asked.resolve();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  order = { url: `https://127.0.0.1:${port}`, path: '/', rootsPem: tls.cert, body: {} };
});
afterAll(() => void server.close());

it('a node waits for the end of an answer for a limited time, however much of it arrives', async () => {
  const refusal = { code: 'server_unreachable', detail: expect.stringContaining('no answer within 100 ms') };
  await expect(askNode({ ...order, within: 100 })).rejects.toMatchObject(refusal);
});

it('a node that ends waits for no answer', async () => {
  asked = Promise.withResolvers();
  const stopped = new AbortController();
  const answer = askNode({ ...order, stopped: stopped.signal });
  await asked.promise;
  stopped.abort();
  await expect(answer).rejects.toMatchObject({ code: 'server_unreachable' });
  await expect(askNode({ ...order, stopped: stopped.signal })).rejects.toMatchObject({ code: 'server_unreachable' });
});
