/** Which chains a TLS server accepts with the trust anchors of clients. */

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { expect, it, onTestFinished } from 'vitest';
import {
  type Credentials,
  createIssuing,
  createRoot,
  dnsName,
  issue,
  uriName,
} from '../../test/fixtures/broker/certificates.ts';
import { clientTrust } from './client-trust.ts';

const root = createRoot('root');
const issuing = createIssuing(root, 'issuing');
const stranger = createIssuing(createRoot('another root'), 'another issuing');
const server = issue({ issuer: issuing, names: [dnsName('localhost')], purposes: ['serverAuth'] });

const client = (issuer: typeof issuing) =>
  issue({ issuer, names: [uriName('spiffe://fleet.example/device/dev-1')], purposes: ['clientAuth'] });

/** Whether a server with these anchors finds the client's chain valid. */
async function isAuthorized(ca: string, { chain, key }: Pick<Credentials, 'chain' | 'key'>): Promise<boolean> {
  const listener = tls.createServer({
    ...clientTrust(ca),
    key: server.key,
    cert: server.chain,
    requestCert: true,
    rejectUnauthorized: false,
  });
  onTestFinished(() => void listener.close());
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const accepted = once(listener, 'secureConnection') as Promise<[tls.TLSSocket]>;
  const socket = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca: root.pem, cert: chain, key });
  const [connection] = await accepted;
  const { authorized } = connection;
  socket.destroy();
  connection.destroy();
  return authorized;
}

it('a chain ends at the issuing CA, so that the root need not be there', async () => {
  expect(await isAuthorized(issuing.pem, client(issuing))).toBe(true);
  expect(await isAuthorized(root.pem + issuing.pem, client(issuing))).toBe(true);
});

it('a chain of another issuing CA is valid only with its root', async () => {
  expect(await isAuthorized(root.pem + issuing.pem, client(stranger))).toBe(false);
  expect(await isAuthorized(root.pem + issuing.pem, client(createIssuing(root, 'next issuing')))).toBe(true);
  expect(await isAuthorized(issuing.pem, client(createIssuing(root, 'next issuing')))).toBe(false);
});

it('a certificate for servers is no client certificate, also of a trusted issuing CA', async () => {
  expect(await isAuthorized(root.pem + issuing.pem, server)).toBe(false);
});
