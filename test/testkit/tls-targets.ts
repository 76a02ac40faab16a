/**
 * What sinks forward to, over TLS alone: Debian's NATS and PostgreSQL and an HTTPS server, on 127.0.0.1 with a certificate
 * that the test brings, and each with the settings of a sink that speaks to it.
 */

import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { JetStreamApiError, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import pg from 'pg';
import { onTestFinished } from 'vitest';
import { natsServer } from './nats-server.ts';
import { postgresServer } from './postgres-server.ts';
import type { ServerCredential } from './scripted-authority.ts';
import { temporaryDirectory } from './temporary.ts';

export interface TlsTargetOptions {
  readonly server: ServerCredential;
  /** PEM: clients have to show a certificate of this authority. */
  readonly clientCa?: string | undefined;
}

export interface TlsTarget {
  /** Lines of a sink in the configuration file: kind, URL and secret. */
  readonly settings: readonly string[];
  /** Messages that arrived, as the target itself counts them. `client`: shown where it asks for a certificate. */
  count(client?: ServerCredential): Promise<number>;
}

export type TlsTargetKind = 'nats' | 'postgres' | 'webhook';

export const startTlsTarget: Readonly<Record<TlsTargetKind, (options: TlsTargetOptions) => Promise<TlsTarget>>> = {
  nats: startNats,
  postgres: startPostgres,
  webhook: startWebhook,
};

function secretFile(text: string): string {
  const path = join(temporaryDirectory(), 'secret');
  writeFileSync(path, `${text}\n`, { mode: 0o600 });
  return path;
}

async function startNats({ server, clientCa }: TlsTargetOptions): Promise<TlsTarget> {
  const directory = temporaryDirectory();
  const file = (name: string, text: string) => {
    writeFileSync(join(directory, name), text, { mode: 0o600 });
    return join(directory, name);
  };
  const { port } = await natsServer(directory, [
    ...['--user', 'rollcall', '--pass', 'bus password', '--tls'],
    ...['--tlscert', file('server.crt', server.certificatePem), '--tlskey', file('server.key', server.keyPem)],
    ...(clientCa === undefined ? [] : ['--tlsverify', '--tlscacert', file('clients.crt', clientCa)]),
  ]);
  return {
    settings: [
      ...['kind: nats', `url: tls://127.0.0.1:${port}`],
      ...['user: rollcall', `passwordFile: ${secretFile('bus password')}`],
    ],
    async count(client) {
      // Who counts does not check: the server's certificate may be one that nobody is to take.
      const tls = { rejectUnauthorized: false, ...(client && { cert: client.certificatePem, key: client.keyPem }) };
      const credentials = { user: 'rollcall', pass: 'bus password' };
      const connection = await connect({ servers: `127.0.0.1:${port}`, reconnect: false, tls, ...credentials });
      try {
        return (await (await jetstreamManager(connection)).streams.info('ROLLCALL')).state.messages;
      } catch (error) {
        if (error instanceof JetStreamApiError) return 0; // no stream yet
        throw error;
      } finally {
        await connection.close();
      }
    },
  };
}

async function startPostgres(tls: TlsTargetOptions): Promise<TlsTarget> {
  const { port, user, password, socketDirectory } = await postgresServer(tls);
  return {
    settings: [
      ...['kind: postgres', `url: postgres://127.0.0.1:${port}/postgres`],
      ...[`user: ${user}`, `passwordFile: ${secretFile(password)}`],
    ],
    async count() {
      const client = new pg.Client({ host: socketDirectory, port, database: 'postgres', user, password });
      await client.connect();
      const { rows } = await client.query(`SELECT to_regclass('rollcall_messages') IS NOT NULL AS made`);
      const counted = rows[0].made
        ? await client.query('SELECT count(*)::int AS count FROM rollcall_messages')
        : undefined;
      await client.end();
      return counted?.rows[0].count ?? 0;
    },
  };
}

async function startWebhook({ server: { certificatePem, keyPem }, clientCa }: TlsTargetOptions): Promise<TlsTarget> {
  let taken = 0;
  const asked = clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true };
  const server = createServer({ cert: certificatePem, key: keyPem, ...asked }, async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    taken += JSON.parse(Buffer.concat(chunks).toString()).length;
    response.writeHead(204).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const settings = [`url: https://127.0.0.1:${port}/`, `secretFile: ${secretFile('a secret of enough characters')}`];
  return { settings: ['kind: webhook', ...settings], count: async () => taken };
}
