/**
 * A peer to measure against: unmodified aedes behind the same TLS as ours. A program of its own; prints one line with
 * its port. No identity, no access rules, no storage.
 *
 *     node stock-aedes.ts SERVER_KEY SERVER_CHAIN TRUST_BUNDLE
 */

import { constants } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import { Aedes } from 'aedes';

const [key, cert, ca] = process.argv.slice(2).map((file) => readFileSync(file));
const aedes = await Aedes.createBroker();
const server = createServer(
  {
    ...(key && cert && ca && { key, cert, ca }),
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET,
    noDelay: true,
  },
  aedes.handle,
);
server.on('tlsClientError', (_error, socket) => socket.destroy());
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
process.once('SIGTERM', () => process.exit(0));
