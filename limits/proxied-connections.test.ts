import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { expect, it, onTestFinished } from 'vitest';
import { createRoot, dnsName, issue } from '../test/fixtures/broker/certificates.ts';
import { type AcceptedClient, ProxiedConnections, type ProxyRefusal } from './proxied-connections.ts';

const root = createRoot('root');
const V1 = 'PROXY TCP4 192.0.2.7 198.51.100.1 56324 8883\r\n';
const LOCAL_V2 = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex');

interface Proxied {
  readonly connections: ProxiedConnections;
  readonly refusals: [ProxyRefusal, string, string | undefined][];
  /** The accepted connections, the oldest first. */
  readonly sockets: readonly Socket[];
  open(bytes?: string | Buffer): Socket;
  /** The next accepted client, and what it sends after the header. */
  accepted(): Promise<AcceptedClient & { readonly first: string }>;
}

async function start(
  options: { from?: readonly string[]; timeoutMs?: number; waitingMax?: number } = {},
): Promise<Proxied> {
  const refusals: Proxied['refusals'] = [];
  const clients: (AcceptedClient & { readonly first: string })[] = [];
  let wake = () => {};
  const connections = new ProxiedConnections({
    from: ['127.0.0.1'],
    timeoutMs: 60_000,
    ...options,
    refused: (reason, address, detail) => refusals.push([reason, address, detail]),
  });
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    connections.accept(socket, (client) => {
      socket.on('error', () => {});
      socket.once('data', (bytes) => {
        clients.push({ ...client, first: bytes.toString('latin1') });
        wake();
      });
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    connections.close();
  });
  return {
    connections,
    refusals,
    sockets,
    open: (bytes = '') => {
      const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
      socket.on('error', () => {});
      socket.resume();
      onTestFinished(() => {
        socket.destroy();
      });
      if (bytes.length > 0) socket.write(bytes);
      return socket;
    },
    accepted: async () => {
      while (clients.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return clients.shift() as AcceptedClient & { readonly first: string };
    },
  };
}

const closed = (socket: Socket) =>
  new Promise<void>((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });

it('a trusted proxy states the address of its client, and the bytes after the header are those of the client', async () => {
  const proxied = await start();
  proxied.open(`${V1}hello`);
  expect(await proxied.accepted()).toMatchObject({ address: '192.0.2.7', first: 'hello' });
  expect([proxied.refusals, proxied.connections.waiting]).toEqual([[], 0]);
});

it('TLS begins with the bytes after the header, also when they came together with it', async () => {
  const { key, chain: cert } = issue({
    issuer: root,
    commonNames: ['server'],
    names: [dnsName('localhost')],
    purposes: ['serverAuth'],
  });
  const secure = createTlsServer({ key, cert }, (socket) => socket.end('hello'));
  const connections = new ProxiedConnections({ from: ['127.0.0.1'], timeoutMs: 60_000, refused: () => {} });
  const server = createServer((socket) => connections.accept(socket, () => secure.emit('connection', socket)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
  });
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  socket.cork();
  socket.write(V1);
  const client = connectTls({ socket, ca: root.pem, servername: 'localhost' });
  setImmediate(() => socket.uncork());
  expect(await text(client)).toBe('hello');
});

it('a header may come byte by byte', async () => {
  const proxied = await start();
  const socket = proxied.open();
  socket.setNoDelay();
  for (const byte of `${V1}x`) await new Promise((resolve) => socket.write(byte, resolve));
  expect(await proxied.accepted()).toMatchObject({ address: '192.0.2.7', first: 'x' });
});

it('a connection that the proxy makes for itself has the address of the proxy', async () => {
  const proxied = await start();
  proxied.open(Buffer.concat([LOCAL_V2, Buffer.from('check')]));
  expect(await proxied.accepted()).toMatchObject({ address: '127.0.0.1', first: 'check' });
});

it('a trusted proxy without a header is refused at its first byte', async () => {
  const proxied = await start();
  await closed(proxied.open(Buffer.of(0x16)));
  expect(proxied.refusals).toEqual([['proxy_header_missing', '127.0.0.1', undefined]]);
});

it('a header that is not valid is refused with its reason', async () => {
  const proxied = await start();
  await closed(proxied.open('PROXY TCP4 somewhere else 1 2\r\n'));
  expect(proxied.refusals).toEqual([['proxy_header_invalid', '127.0.0.1', expect.stringContaining('expected')]]);
});

it('a header is not read from a connection that is not of a trusted network', async () => {
  const proxied = await start({ from: ['10.0.0.0/8', '127.0.0.2', '2001:db8::/32'] });
  proxied.open(V1);
  expect(await proxied.accepted()).toMatchObject({ address: '127.0.0.1', first: V1 });
});

it('a header that is not complete at the deadline is refused', async () => {
  const proxied = await start({ timeoutMs: 20 });
  await closed(proxied.open('PROXY TCP4 '));
  expect(proxied.refusals).toEqual([['proxy_header_late', '127.0.0.1', undefined]]);
});

it('connections without a header are limited in number, and one that closes makes place for another', async () => {
  const proxied = await start({ waitingMax: 1 });
  const first = proxied.open('PROXY ');
  await closed(proxied.open(V1));
  expect(proxied.refusals).toEqual([['too_many_without_header', '127.0.0.1', undefined]]);
  // At the server: its place is free then, which the client cannot know.
  const isClosed = closed(proxied.sockets[0] as Socket);
  first.destroy();
  await isClosed;
  proxied.open(`${V1}x`);
  expect(await proxied.accepted()).toMatchObject({ address: '192.0.2.7' });
});

it('a health check that connects and closes is no refusal', async () => {
  const proxied = await start({ waitingMax: 1 });
  const check = proxied.open();
  check.end();
  await closed(check);
  await closed(proxied.sockets[0] as Socket);
  expect([proxied.refusals, proxied.connections.waiting]).toEqual([[], 0]);
});
