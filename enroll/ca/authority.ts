/**
 * The certificate authority of a fleet, put together from its parts: the CAs in use, the certificates that they issue,
 * the trust bundle, certificate status, server certificates and the rotation of CAs. A rotation may change the CAs while
 * the authority runs; every part reads the current ones.
 */

import { randomBytes, type X509Certificate } from 'node:crypto';
import type { IssuerRecord, NodeCertificateRecord } from '../../registry/index.ts';
import { type CaKeySharing, createCaKeySharing } from '../nodes/ca-key-sharing.ts';
import { createNodeCertificates, type NodeCertificates } from '../nodes/node-certificates.ts';
import { createStatusPublication, type StatusPublication } from '../status/status-publication.ts';
import { type AuthorityExport, exportAuthority } from './authority-export.ts';
import { type AuthorityOptions, checkCertificateNames } from './authority-options.ts';
import { openCaDirectory } from './ca-directory.ts';
import type { CaSet } from './ca-set.ts';
import { openCurrentCas } from './current-cas.ts';
import { openKeyStore, PLAIN_FILES } from './key-store.ts';
import { type ClientCertificateIssuer, createLeafCertificates } from './leaf-certificates.ts';
import { createRootKeys } from './root-keys.ts';
import { createRotation, type Rotation } from './rotation.ts';
import { SerialQueue } from './serial-queue.ts';
import { openServerCertificates, type ServerCertificates } from './server-certificates.ts';
import { createTrustBundle, type TrustBundle } from './trust-bundle.ts';

export interface Authority {
  /** DNS names and IP addresses of this server. */
  readonly hosts: readonly string[];
  /** The CAs that are not retired. */
  readonly cas: CaSet;
  /** Issues certificates to devices and services, and recognizes them. */
  readonly issuer: ClientCertificateIssuer;
  /** What devices, listeners and tokens trust. */
  readonly trust: TrustBundle;
  /** The certificates of this server's own listeners. */
  readonly serverCertificates: ServerCertificates;
  /** CRLs, OCSP responses and CA certificates for third parties. */
  readonly status: StatusPublication;
  /** Of the hosts that joined the fleet. */
  nodeCertificates(): Promise<readonly NodeCertificateRecord[]>;
  /** It has no keys of CAs: another node publishes what devices trust. */
  readonly isKeyless: boolean;
  /** The steps by which CAs are replaced. */
  readonly rotation: Rotation;
  /** Certificates of other nodes of the fleet. */
  readonly nodes: NodeCertificates;
  /** Applies what another node has changed of the CAs, and uses keys that were copied to this machine. */
  checkCas(): Promise<void>;
  /** Where several nodes issue: how keys of CAs reach all of them. Undefined where they are copied by hand. */
  readonly keySharing: CaKeySharing | undefined;
  /** What a node with the role enroll needs. The caller records that it gets it. */
  exportForNode(): Promise<AuthorityExport>;
  /** Resolves when no work that uses the registry is left. */
  close(): Promise<void>;
}

/**
 * Opens the authority, or creates it. Throws Problem `private_key_exposed`, `authority_unusable`,
 * `data_directory_unusable`, or `config_invalid` for a trust domain or host that a certificate cannot contain.
 */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  checkCertificateNames(options);
  const { registry, now, log, statusUrls } = options;
  const hosts = [...new Set(options.hosts)];
  const directory = await openCaDirectory(options.directory);
  const keys = await openKeyStore(directory, options.keys ?? PLAIN_FILES);
  const parts = { ...options, randomBytes: options.randomBytes ?? randomBytes, directory, keys };

  // 1. The CAs, and what they issue.
  const current = await openCurrentCas(parts);
  const cas = () => current.get();
  const leaves = createLeafCertificates({ ...parts, cas, hosts, statusUrls });

  // 2. What the fleet trusts, and what third parties may read about it.
  const rootKeys = createRootKeys(directory, keys);
  const trust = createTrustBundle({ cas, rootCrlsPem: () => status.rootCrlsPem(), log });
  const status = createStatusPublication({
    cas,
    directory,
    registry,
    now,
    log,
    rootSigner: async (id) => (await rootKeys.find(id))?.signer,
    issueOcspCertificate: leaves.issueOcspCertificate,
    isKeyless: options.remote !== undefined,
    onRootCrlsRenewed: () => trust.notify(),
    urls: statusUrls,
    backdateSeconds: options.lifetimes.backdateSeconds,
  });

  // 3. Certificates of this server's listeners.
  const { remote } = options;
  const isUsable = (certificate: X509Certificate) => certificate.verify(cas().active.publicKey);
  const serverCertificates = await openServerCertificates({
    issue: leaves.issueServerCertificate,
    remote: remote && { servers: remote.servers, obtain: (name) => remote.obtain(name, isUsable) },
    trust,
    files: options.serverFiles ?? {},
    now,
    log,
  });

  // 4. A step of a rotation reaches every part before anybody outside hears of it: devices receive the CRLs of roots too.
  const onCasChanged = async (): Promise<void> => {
    const before = cas();
    await current.reload();
    const { active, isKeyHere } = cas();
    const canIssue = isKeyHere || remote !== undefined;
    if (canIssue && (before.active.id !== active.id || !before.isKeyHere)) await serverCertificates.reissue();
    else serverCertificates.applyTrust();
    if (!canIssue)
      log.warn({ ca: active.id }, 'this node issues nothing: the key of the active issuing CA is not here');
    await status.onCasChanged();
    await trust.notify();
  };
  const checks = new SerialQueue();
  const lookForChanges = async (): Promise<void> => {
    const states = (records: readonly IssuerRecord[]) =>
      records.map(({ id, state, chain }) => [id, state, chain]).join();
    const isChanged = states(await registry.listIssuers()) !== states(cas().records);
    const lacksKey = remote === undefined && cas().issuing.some(({ signer }) => signer === undefined);
    const hasKeyNow = !isChanged && lacksKey && (await current.findKeys());
    if (isChanged || hasKeyNow) await onCasChanged();
  };
  const checkCas = () => checks.add(lookForChanges);
  const rotation = createRotation({ ...parts, cas, rootKeys, onChanged: onCasChanged });
  await status.start();

  return {
    hosts,
    isKeyless: remote !== undefined,
    nodeCertificates: async () => (await options.nodeCertificates?.()) ?? [],
    get cas() {
      return cas();
    },
    issuer: leaves.clients,
    trust,
    serverCertificates,
    status,
    rotation,
    nodes: createNodeCertificates({ issuer: leaves.clients, leaves, trust }),
    checkCas,
    keySharing:
      options.sharing && createCaKeySharing({ ...parts, ...options.sharing, cas, audit: registry, onStored: checkCas }),
    exportForNode: () => exportAuthority(directory, keys),
    close: async () => {
      await Promise.all([serverCertificates.close(), status.close()]);
      keys.close();
    },
  };
}
