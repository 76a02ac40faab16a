/** The HTTP server for Bun, which runs on both runtimes. */

import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { expect, it, onTestFinished } from 'vitest';
import { createIssuing, createRoot, dnsName, issue, uriName } from '../test/fixtures/broker/certificates.ts';
import { SocketHttpServer, type SocketHttpServerParts } from './socket-http-server.ts';

const root = createRoot('root');
const issuer = createIssuing(root, 'issuing');
const credentials = issue({ issuer, commonNames: ['server'], names: [dnsName('localhost')], purposes: ['serverAuth'] });
const client = issue({ issuer, names: [uriName('spiffe://fleet.example/device/dev-1')], purposes: ['clientAuth'] });
const tls = {
  key: credentials.key,
  cert: credentials.chain,
  ca: root.pem + issuer.pem,
  requestCert: true,
  rejectUnauthorized: false,
};
const WHOLE = 'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n';

interface Started {
  readonly server: SocketHttpServer;
  readonly port: number;
}

const respondWithClient: RequestListener = (request, response) => {
  const { authorized, getPeerX509Certificate } = request.socket as TLSSocket;
  const san = getPeerX509Certificate?.call(request.socket)?.subjectAltName;
  request.resume().once('end', () => response.end(JSON.stringify({ authorized, san })));
};

async function start(
  parts: Partial<SocketHttpServerParts> = {},
  options: ConstructorParameters<typeof SocketHttpServer>[0] = {},
  respond: RequestListener = respondWithClient,
): Promise<Started> {
  const server = new SocketHttpServer(options, { tls: undefined, admit: undefined, ...parts });
  server.on('request', respond);
  await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1' }, resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { server, port: (server.address() as { readonly port: number }).port };
}

function opened({ port }: Started, bytes = ''): Socket {
  const socket = connect(port, '127.0.0.1').on('error', () => {});
  if (bytes !== '') socket.write(bytes);
  onTestFinished(() => {
    socket.destroy();
  });
  return socket;
}

async function exchange(socket: Socket): Promise<string> {
  socket.write('GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n');
  return text(socket);
}

it('shows the client certificate of a request', async () => {
  const { port } = await start({ tls });
  const to = { port, host: '127.0.0.1', rejectUnauthorized: false };
  const known = await exchange(connectTls({ ...to, key: client.key, cert: client.chain }));
  expect(known).toContain('{"authorized":true,"san":"URI:spiffe://fleet.example/device/dev-1"}');
  expect(await exchange(connectTls(to))).toContain('{"authorized":false}');
});

it('asks about each connection before TLS', async () => {
  const ports: unknown[] = [];
  const admit = (socket: Socket) => {
    ports.push(socket.remotePort);
    socket.destroy();
  };
  const started = await start({ tls, admit });
  const socket = opened(started);
  await once(socket, 'connect');
  const { localPort } = socket;
  await once(socket, 'close');
  expect(ports).toEqual([localPort]);
});

it.each([
  ['sends nothing', ''],
  ['sends no end of its headers', 'GET / HTTP/1.1\r\na: '],
  ['sends no end of its body', 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc'],
  ['sends no further request', WHOLE],
])('closes a connection that %s in time', async (_, bytes) => {
  const started = await start({}, { headersTimeout: 100, requestTimeout: 100, keepAliveTimeout: 100 });
  const socket = opened(started, bytes).resume();
  await once(socket, 'close');
});

it('closes a connection whose TLS handshake does not finish in time', async () => {
  const started = await start({ tls }, { headersTimeout: 100 });
  await once(opened(started, '\x16\x03\x01\x40').resume(), 'close');
});

it('does not limit the time of a response', async () => {
  const timeouts = { headersTimeout: 50, requestTimeout: 50, keepAliveTimeout: 50 };
  const started = await start({}, timeouts, (_request, response) => setTimeout(() => response.end('late'), 200));
  expect(await exchange(opened(started))).toContain('late');
});

it('closes a connection without traffic for the time that is set', async () => {
  const started = await start({}, {}, () => {});
  started.server.setTimeout(100);
  await once(opened(started, WHOLE).resume(), 'close');
});

it('closes idle connections and unfinished handshakes, and waits for a request in progress', async () => {
  const started = await start();
  const idle = opened(started, WHOLE);
  await once(idle, 'data');
  const busy = opened(started, 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n');
  await once(started.server, 'request');
  const closed = new Promise((resolve) => started.server.close(resolve));
  started.server.closeIdleConnections();
  await once(idle.resume(), 'close');
  busy.write('abc');
  expect(String(await once(busy, 'data'))).toContain('200 OK');
  started.server.closeIdleConnections();
  await closed;
});
