/**
 * Makes the fleet's CA before its server starts, and a server certificate of it for the peers: so all servers present the
 * same kind of key and chain, and trust the same CA for the same clients.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { openAuthority } from '../../enroll/index.ts';
import { openRegistry } from '../../registry/open.ts';
import { loadConfig } from '../../server/config/load.ts';
import { openDataDirectory } from '../../server/data-directory.ts';

export interface PeerFiles {
  readonly key: string;
  /** Leaf and issuing CA. */
  readonly chain: string;
  /** Root and issuing CA: what clients are judged by. */
  readonly trust: string;
}

/** `data` becomes the data directory of the fleet. */
export async function prepareAuthority(data: string, peerDirectory: string): Promise<PeerFiles> {
  const { certificates, trustDomain, publicHosts } = loadConfig({ file: undefined, environment: {}, flags: [] });
  const log = pino({ level: 'silent' });
  const places = openDataDirectory(data);
  const registry = await openRegistry({ file: places.registryFile, now: Date.now, log });
  const authority = await openAuthority({
    directory: places.authority,
    trustDomain,
    hosts: publicHosts,
    lifetimes: {
      deviceSeconds: certificates.device / 1000,
      serverSeconds: certificates.server / 1000,
      issuingSeconds: certificates.issuing / 1000,
      rootSeconds: certificates.root / 1000,
      backdateSeconds: certificates.backdate / 1000,
    },
    registry,
    now: Date.now,
    log,
  });
  const { key, cert } = authority.serverCertificates.current('broker');
  const trustBundlePem = authority.trust.pem;
  await authority.close();
  await registry.close();

  mkdirSync(peerDirectory, { mode: 0o700 });
  const write = (name: string, text: string) => {
    const path = join(peerDirectory, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  return {
    key: write('key.pem', key),
    chain: write('chain.pem', cert),
    trust: write('trust.pem', trustBundlePem),
  };
}
