/** Bootstrap tokens for the groups of a fleet, and the addresses of its servers. */

import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect, isIP } from 'node:net';
import { isLocalhost, LOOPBACK_ADDRESSES, parseMqttUrl, urlHost } from '@rollcall/protocol';
import { EstClient, findEstServer, newKey } from '../devices/est-client.ts';
import type { TlsTarget } from '../devices/tls-connections.ts';
import type { HostOfRun } from './result.ts';
import { type RunOptions, RunRefused } from './run-options.ts';
import type { OperatorAccess } from './server-access.ts';

export interface BootstrapTokens {
  readonly byGroup: ReadonlyMap<string, { readonly id: string; readonly text: string }>;
}

export async function createTokens({ scenario, operator, identities }: RunOptions): Promise<BootstrapTokens> {
  const byGroup = new Map<string, { readonly id: string; readonly text: string }>();
  if (operator === undefined || identities !== undefined) return { byGroup };
  for (const [name, { count, group, labels }] of Object.entries(scenario.devices)) {
    byGroup.set(name, await operator.createToken({ uses: count, group, labels }));
  }
  return { byGroup };
}

export interface ServerEndpoints {
  readonly enrollUrl: string | undefined;
  readonly rootPem: string;
  readonly mqttUrl: string;
}

export async function findServer(
  { mqttUrl, rootPem, targetBroker, operator, prefix }: RunOptions,
  tokens: BootstrapTokens,
): Promise<ServerEndpoints> {
  const [token] = tokens.byGroup.values();
  if (token === undefined) {
    if (mqttUrl === undefined) throw new RunRefused('expected --target mqtts://HOST:PORT');
    const trusted = targetBroker?.caPem ?? rootPem;
    if (trusted === undefined || trusted === '') {
      throw new RunRefused('expected the CA of the broker: --target-ca FILE, or ca.pem in the directory of a device');
    }
    return { enrollUrl: undefined, rootPem: rootPem || trusted, mqttUrl };
  }
  const est = await findEstServer(token.text);
  if (mqttUrl !== undefined) return { ...est, mqttUrl };
  // The server tells the broker's address to devices that enroll, so one device enrolls first.
  const scout = await (operator as OperatorAccess).createToken({ uses: 1, group: 'default', labels: {} });
  const estClient = new EstClient(est, 1);
  const answer = await estClient.enroll(`${prefix}-scout`, scout.text, newKey()).finally(() => estClient.close());
  if ('refused' in answer) throw new RunRefused(`expected a certificate for the first device, found ${answer.refused}`);
  if (answer.mqttUrl === undefined) throw new RunRefused('expected the enroll server to announce its broker');
  return { ...est, mqttUrl: answer.mqttUrl };
}

export function parseTarget(mqttUrl: string): TlsTarget {
  const url = parseMqttUrl(mqttUrl);
  if (url === undefined) throw new RunRefused(`expected mqtts://HOST:PORT, found ${JSON.stringify(mqttUrl)}`);
  return { host: urlHost(url), port: Number(new URL(url).port) };
}

/** The first of its addresses that accepts connections: 10,000 lookups of one name would cost more than the handshakes. */
export async function resolveTarget(target: TlsTarget): Promise<TlsTarget> {
  const addresses = await addressesOf(target.host);
  for (const { address } of addresses) {
    const socket = connect({ host: address, port: target.port });
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isThere) return { ...target, host: address, servername: target.servername ?? target.host };
  }
  return target;
}

async function addressesOf(host: string): Promise<readonly { readonly address: string }[]> {
  if (isLocalhost(host)) return LOOPBACK_ADDRESSES;
  return isIP(host) === 0 ? await lookup(host, { all: true }).catch(() => []) : [];
}

/** A target that only the coordinator's own machine knows is of no use to others. */
export function checkHostsCanReach(host: string, hosts: readonly HostOfRun[]): void {
  if (!isLoopback(host)) return;
  const elsewhere = hosts.find(({ address }) => !isLoopback(address));
  if (elsewhere === undefined) return;
  throw new RunRefused(`expected a server that host "${elsewhere.name}" can reach, found one on ${host}`);
}

function isLoopback(host: string): boolean {
  const bare = host.replace(/^::ffff:/, '');
  return bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'));
}
