import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { expect, it, onTestFinished } from 'vitest';
import { addressOptions, isLocalhost, listenAddress } from './localhost.ts';

it('knows localhost and the names below it, in any case, and no other', () => {
  expect(['localhost', 'LocalHost', 'localhost.', 'fleet.localhost'].every(isLocalhost)).toBe(true);
  expect(['localhost.example', 'notlocalhost', '127.0.0.1', '', '.localhost'].some(isLocalhost)).toBe(false);
});

it('leaves every other name to the resolver', () => {
  expect(addressOptions('fleet.example').lookup).toBeUndefined();
  expect(listenAddress('fleet.example')).toBe('fleet.example');
  expect(listenAddress('localhost')).toBe('127.0.0.1');
});

it('waits for one address of several longer than a link by satellite takes', () => {
  for (const host of ['fleet.example', 'localhost']) {
    expect(addressOptions(host).autoSelectFamilyAttemptTimeout).toBeGreaterThan(2_000);
  }
});

it.each([
  [0, '127.0.0.1'],
  [4, '127.0.0.1'],
  [6, '::1'],
])('answers a lookup of family %s with an address of that family', async (family, expected) => {
  const { lookup } = addressOptions('localhost');
  const found = await new Promise((resolve) => lookup?.('localhost', { family }, (_, address) => resolve(address)));
  expect(found).toBe(expected);
});

it('connects to a name that no resolver knows, on whichever loopback address the server listens', async () => {
  const host = 'no-resolver-knows-this.localhost';
  for (const address of ['127.0.0.1', '::1']) {
    const server = createServer((socket) => socket.end());
    onTestFinished(() => void server.close());
    server.listen(0, address);
    const [event] = (await Promise.race([once(server, 'listening'), once(server, 'error')])) as [Error?];
    if (event !== undefined) continue; // a machine without IPv6
    const socket = connect({ host, port: (server.address() as AddressInfo).port, ...addressOptions(host) });
    await once(socket, 'connect');
    socket.destroy();
  }
});
