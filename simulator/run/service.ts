/** The subscribed service of a run: gets its certificate, opens its subscription, and revokes it. */

import { setTimeout as delay } from 'node:timers/promises';
import { writeCsr } from '@rollcall/device-sdk/building-blocks';
import { parseServiceName } from '@rollcall/protocol';
import { exportKeyPem, newKey } from '../devices/est-client.ts';
import { identityOf } from '../devices/tls-connections.ts';
import { Observer, type ObserverOptions } from './observer.ts';
import { type RunOptions, RunRefused } from './run-options.ts';

const SUBSCRIBE_TIMEOUT_MS = 15_000;

export async function openService(
  { operator, serviceIdentity, prefix, scenario, targetBroker }: RunOptions,
  parts: Pick<ObserverOptions, 'target' | 'connector' | 'counters' | 'names'>,
): Promise<Observer | undefined> {
  let identity = serviceIdentity;
  const name = serviceName(prefix);
  if (identity === undefined && operator !== undefined) {
    const key = newKey();
    const der = writeCsr(key, { commonName: name }).toString('base64');
    const lines = der.match(/.{1,64}/g)?.join('\n');
    const csr = `-----BEGIN CERTIFICATE REQUEST-----\n${lines}\n-----END CERTIFICATE REQUEST-----\n`;
    const { certificatePem } = await operator.issueService(name, csr);
    identity = identityOf(exportKeyPem(key), certificatePem);
  }
  if (identity === undefined) return undefined;
  const wills = Object.values(scenario.devices).flatMap(({ will }) => will?.stream ?? []);
  const observer = new Observer({
    clientId: targetBroker?.serviceClientId ?? name,
    identity,
    willStreams: new Set(wills),
    ...parts,
  });
  const timeout = new AbortController();
  const isOpen = await Promise.race([
    observer.open().then(() => true),
    delay(SUBSCRIBE_TIMEOUT_MS, false, { signal: timeout.signal }).catch(() => true),
  ]);
  timeout.abort();
  if (isOpen) return observer;
  observer.close();
  throw new RunRefused(
    `expected the subscription of the service to be granted within ${SUBSCRIBE_TIMEOUT_MS / 1_000} s`,
  );
}

function serviceName(prefix: string): string {
  const name = `${prefix}-observer`;
  if (parseServiceName(name) === undefined) throw new RunRefused(`expected a prefix for names, found ${prefix}`);
  return name;
}

export async function revokeService({ operator, prefix }: RunOptions): Promise<void> {
  await operator?.revokeService(serviceName(prefix)).catch(() => {}); // a server that is gone needs no tidying
}
