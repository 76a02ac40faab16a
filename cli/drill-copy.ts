/**
 * A fleet's authority for a drill: a snapshot of its registry, and its CA keys where they can be used, in
 * another directory. Reads the data directory of the fleet and writes nothing into it.
 */

import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Problem, parseIdentity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { openConsoleClient } from '../console/client.ts';
import { caId, certificatesInPem, createRenewalSchedule } from '../enroll/index.ts';
import { openRegistry } from '../registry/open.ts';
import { withDatabaseSnapshot } from '../server/backup/index.ts';
import { CONSOLE_SOCKET, type Config } from '../server/config/index.ts';
import { readPassphraseFile } from '../server/config/load.ts';
import type { FleetCounts, StolenCa } from '../simulator/index.ts';
import { everyPage } from './every-page.ts';

export interface FleetCopy {
  readonly counts: FleetCounts;
  /** From its CA certificates; undefined where there are none. */
  readonly trustDomain: string | undefined;
  /** Whether the drill goes on with the fleet's own CAs; if not, why. */
  readonly keys: { readonly are: 'copied' } | { readonly are: 'fresh'; readonly because: string };
  /** Copies the files into the data directory of a server; none when the keys are fresh. */
  installInto(data: string): void;
}

/** `draft`: a directory of the caller's (0700). Problem `data_directory_unusable` when `data` holds no fleet. */
export async function copyFleet(options: {
  readonly data: string;
  readonly draft: string;
  readonly config: Config;
  readonly now: () => number;
  readonly log: Logger;
}): Promise<FleetCopy> {
  const { data, draft, config } = options;
  const registryFile = join(data, 'registry.db');
  if (!existsSync(registryFile)) {
    throw new Problem('data_directory_unusable', {
      reason: `${data}: expected the registry of a fleet, found none`,
      hint: 'leave out --data to drill with a fleet that is made for it',
    });
  }
  const copied = join(draft, 'registry.db');
  withDatabaseSnapshot(registryFile, join(draft, 'moment.db'), (snapshotFile) => copyFileSync(snapshotFile, copied));
  const { counts, needed, trustDomain } = await count(copied, options);
  const authority = join(data, 'ca');
  const because = whyNotThose(authority, needed, config);
  return {
    counts,
    trustDomain,
    keys: because === undefined ? { are: 'copied' } : { are: 'fresh', because },
    installInto: (target) => {
      if (because !== undefined) return;
      copyFileSync(copied, join(target, 'registry.db'));
      mkdirSync(join(target, 'ca'), { mode: 0o700 });
      for (const name of readdirSync(authority)) {
        if (/\.(key|pem|csr|crl)$/.test(name)) copyFileSync(join(authority, name), join(target, 'ca', name));
      }
    },
  };
}

/** Ids of the CAs whose keys a rotation needs, and how many depend on the one that signs. */
async function count(
  file: string,
  { data, config, now, log }: Parameters<typeof copyFleet>[0],
): Promise<{
  readonly counts: FleetCounts;
  readonly needed: readonly string[];
  readonly trustDomain: string | undefined;
}> {
  const registry = await openRegistry({ file, overlapMs: config.certificates.overlap, now, log });
  try {
    const active = (await registry.listIssuers()).filter(({ state }) => state === 'active');
    const issuing = active.find(({ role }) => role === 'issuing');
    const perSecond = config.certificates.renewalsPerSecond;
    const renewals = createRenewalSchedule({ registry, perSecond, notify: async () => {}, now, log });
    const services = (await registry.listServices()).filter(({ status }) => status === 'active').length;
    return {
      needed: active.map(({ id }) => id),
      trustDomain: issuing && trustDomainIn(issuing.der),
      counts: {
        dependents: issuing === undefined ? 0 : await registry.countStranded(issuing.id),
        services,
        late: (await renewals.status({})).late,
        tokens: (await registry.listTokens()).filter(({ state }) => state === 'usable').length,
        connected: await connectedNow(data),
        budgetPerSecond: perSecond,
      },
    };
  } finally {
    await registry.close();
  }
}

function trustDomainIn(der: Uint8Array): string | undefined {
  return /URI:spiffe:\/\/([^,/\s]+)/.exec(new X509Certificate(der).subjectAltName ?? '')?.[1];
}

/** Undefined when no server runs there. Nothing but this question is ever asked of the fleet itself. */
async function connectedNow(data: string): Promise<number | undefined> {
  const socketPath = join(data, CONSOLE_SOCKET);
  if (!existsSync(socketPath)) return undefined;
  const server = openConsoleClient({ socketPath });
  try {
    const sessions = await everyPage<{ readonly identity: string; readonly clientId: string }>(
      async (end) => (await server.listSessions(end === undefined ? {} : { after: end.clientId })).sessions,
    );
    return sessions.filter(({ identity }) => parseIdentity(identity)?.kind === 'device').length;
  } catch {
    return undefined;
  } finally {
    await server.close();
  }
}

/** Key and certificate of an issuing CA out of a data directory whose keys lie in files, for the thief of a drill. */
export function readIssuingCa(data: string, id: string, passphraseFile: string): StolenCa {
  const authority = join(data, 'ca');
  for (const name of readdirSync(authority)) {
    if (!/^issuing.*\.key$/.test(name)) continue;
    const key = readPrivateKey(join(authority, name), passphraseFile);
    if (caId(createPublicKey(key).export({ type: 'spki', format: 'der' })) !== id) continue;
    const [certificate] = certificatesInPem(readFileSync(join(authority, name.replace(/key$/, 'pem')), 'utf8'));
    if (certificate === undefined) break;
    const keyPem = key.export({ type: 'pkcs8', format: 'pem' }) as string;
    return { keyPem, certificatePem: new X509Certificate(certificate).toString() };
  }
  throw new Problem('internal', { reason: `expected the key of issuing CA ${id} in the copy, found none` });
}

function readPrivateKey(file: string, passphraseFile: string): KeyObject {
  return createPrivateKey({
    key: readFileSync(file, 'utf8'),
    ...(passphraseFile !== '' && { passphrase: readPassphraseFile(passphraseFile) }),
  });
}

function whyNotThose(authority: string, needed: readonly string[], { certificates }: Config): string | undefined {
  if (certificates.keys.home === 'pkcs11')
    return 'its keys are in a PKCS#11 token, in which a drill would leave new keys';
  const { passphraseFile } = certificates.keys;
  const found = new Set<string>();
  try {
    for (const name of readdirSync(authority)) {
      if (name.endsWith('.uri')) return 'a key of it lies in a token';
      if (!name.endsWith('.key')) continue;
      const key = readPrivateKey(join(authority, name), passphraseFile);
      found.add(caId(createPublicKey(key).export({ type: 'spki', format: 'der' })));
    }
  } catch {
    return 'its keys can not be read; --config names the file with its passphrase';
  }
  if (needed.length === 0) return 'it has no CA yet';
  const absent = needed.filter((id) => !found.has(id)).length;
  return absent === 0
    ? undefined
    : 'the key of its root is elsewhere, so the real rotation needs "ca csr" and "ca import"';
}
