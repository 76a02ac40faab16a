/** Opens the certificate authority of a server from its configuration, with the plain-HTTP listener for CRLs and OCSP. */

import { CRL_PATH, Problem, serverUrl } from '@rollcall/protocol';
import type { Logger } from 'pino';
import {
  type Authority,
  type CredentialFiles,
  createStatusServer,
  openAuthority,
  type RemoteAuthority,
  type ServerName,
  type SharingFleet,
  type StatusServer,
} from '../enroll/index.ts';
import type { RequestLimits } from '../limits/index.ts';
import type { Registry } from '../registry/index.ts';
import type { SharedRegistry } from '../registry/open.ts';
import type { Cluster } from './cluster/cluster.ts';
import { NodeCredentials } from './cluster/node-credentials.ts';
import type { Config } from './config/config.ts';
import type { ServerContext } from './context.ts';

export interface OpenedAuthority {
  readonly authority: Authority;
  /** `http://host:port`; undefined without the listener. */
  readonly statusUrl: string | undefined;
  close(): Promise<void>;
}

export async function openCertificateAuthority(context: ServerContext, registry: Registry): Promise<OpenedAuthority> {
  const { config, cluster, data, environment, publicHost, limits: requestLimits, now } = context;
  const log = context.log.child({ component: 'enroll' });
  const node = cluster && NodeCredentials.open({ data: data.path, now, log }, cluster.node);
  // Without keys of the CA: only a host that joined gets its certificates from others.
  const isKeyless = node !== undefined && !config.node.roles.includes('enroll');
  if (isKeyless && config.certificateStatus.listen) {
    await node.close();
    throw new Problem('config_invalid', {
      reason: 'certificateStatus.listen: expected a node with the role enroll, which has the keys of the CA',
    });
  }
  let authority: Authority | undefined;
  // The listener is opened first, because every certificate contains its address.
  const listener = await startStatusServer(config, () => authority, { requestLimits, now, log });
  const statusUrl = listener && (config.certificateStatus.url || serverUrl('http', publicHost, listener.port));
  try {
    authority = await openAuthority({
      directory: data.authority,
      trustDomain: config.trustDomain,
      hosts: config.publicHosts,
      statusUrls: statusUrlsOf(statusUrl, config, publicHost),
      keys: {
        store: config.certificates.keys.home,
        passphraseFile: config.certificates.keys.passphraseFile || undefined,
        pkcs11: config.certificates.keys.pkcs11.module === '' ? undefined : config.certificates.keys.pkcs11,
        credentialsDirectory: environment.CREDENTIALS_DIRECTORY,
      },
      serverFiles: serverFilesOf(config),
      nodeCertificates: cluster && (() => (registry as SharedRegistry).listNodeCertificates()),
      remote: isKeyless ? remoteOf(node) : undefined,
      sharesRegistry: cluster !== undefined,
      sharing: sharingOf(context, registry, node),
      lifetimes: {
        deviceSeconds: seconds(config.certificates.device),
        serverSeconds: seconds(config.certificates.server),
        issuingSeconds: seconds(config.certificates.issuing),
        rootSeconds: seconds(config.certificates.root),
        backdateSeconds: seconds(config.certificates.backdate),
      },
      registry,
      now,
      log,
    });
  } catch (error) {
    await Promise.all([listener?.close(), node?.close()]);
    throw error;
  }
  const opened = authority;
  const stopChecking = cluster !== undefined ? checkCas(opened, { cluster, node, log }) : () => {};
  return {
    authority: opened,
    statusUrl,
    close: async () => {
      stopChecking();
      await Promise.all([listener?.close(), node?.close()]);
      await opened.close();
    },
  };
}

/** Milliseconds. A CA is activated three seconds after it was prepared, at the earliest. */
const CHECK_CAS_EVERY_MS = 1_000;

function remoteOf(node: NodeCredentials): RemoteAuthority {
  return {
    servers: ['broker', 'console'],
    obtain: (name, isUsable) => node.obtain(name === 'console' ? name : 'broker', isUsable),
  };
}

/** Undefined where this node gets and sends no keys of CAs. */
function sharingOf(
  { config, cluster }: ServerContext,
  registry: Registry,
  node: NodeCredentials | undefined,
): SharingFleet | undefined {
  if (cluster === undefined || !config.node.roles.includes('enroll') || !config.certificates.keys.share)
    return undefined;
  return {
    node: cluster.node,
    registry: registry as SharedRegistry,
    isEnrolling: async (name) =>
      (await cluster.nodes()).some((found) => {
        const isThere = found.removedAt === undefined && found.liveness.state !== 'gone';
        return found.name === name && isThere && found.roles.includes('enroll');
      }),
    prove: (text) => node?.prove(text),
  };
}

interface CasFollowers {
  readonly cluster: Pick<Cluster, 'tellCaKeys'>;
  readonly node: Pick<NodeCredentials, 'renewUnder'> | undefined;
  readonly log: Logger;
}

function checkCas(authority: Authority, { cluster, node, log }: CasFollowers): () => void {
  let active: string | undefined;
  let isChecking = false;
  let isFailing = false;
  const check = async (): Promise<void> => {
    if (isChecking) return;
    isChecking = true;
    try {
      await authority.checkCas();
      const here = authority.cas.issuing.filter(({ signer }) => signer !== undefined);
      cluster.tellCaKeys(here.map(({ id }) => id));
      if (authority.cas.active.id !== active) {
        active = authority.cas.active.id;
        node?.renewUnder((certificate) => certificate.verify(authority.cas.active.publicKey));
      }
      isFailing = false;
    } catch (error) {
      // Once: without the database each check fails.
      if (!isFailing) log.error({ err: error }, 'changes of the CAs by other nodes were not applied');
      isFailing = true;
    } finally {
      isChecking = false;
    }
  };
  void check();
  const timer = setInterval(() => void check(), CHECK_CAS_EVERY_MS).unref();
  return () => clearInterval(timer);
}

function startStatusServer(
  { certificateStatus: settings }: Config,
  authority: () => Authority | undefined,
  {
    requestLimits,
    now,
    log,
  }: { readonly requestLimits: RequestLimits; readonly now: () => number; readonly log: Logger },
): Promise<StatusServer | undefined> {
  if (!settings.listen) return Promise.resolve(undefined);
  const status = () => {
    const found = authority()?.status;
    if (found === undefined) throw new Problem('unavailable', { reason: 'the server is starting' });
    return found;
  };
  return createStatusServer({
    ...settings,
    status: { document: async (path) => status().document(path), ocsp: async (request) => status().ocsp(request) },
    requestLimits,
    now,
    log,
  });
}

function statusUrlsOf(statusUrl: string | undefined, { enroll }: Config, publicHost: string) {
  if (statusUrl !== undefined) {
    return (id: string) => ({
      crl: `${statusUrl}/crl/${id}.crl`,
      access: { ocsp: `${statusUrl}/ocsp`, caIssuers: `${statusUrl}/ca/${id}.cer` },
    });
  }
  // The port 0 is chosen after certificates are issued, so that they cannot contain it.
  if (enroll.port === 0) return undefined;
  const folder = CRL_PATH.slice(0, CRL_PATH.lastIndexOf('/'));
  return (id: string) => ({ crl: `${serverUrl('https', publicHost, enroll.port)}${folder}/${id}.crl` });
}

function serverFilesOf({ certificates }: Config): Partial<Record<ServerName, CredentialFiles>> {
  const found: Partial<Record<ServerName, CredentialFiles>> = {};
  for (const name of ['enroll', 'broker', 'console'] as const) {
    const { cert, key } = certificates.files[name];
    if ((cert === '') !== (key === '')) {
      throw new Problem('config_invalid', {
        reason: `certificates.files.${name}: expected both cert and key, found one`,
      });
    }
    if (cert !== '') found[name] = { cert, key };
  }
  return found;
}

function seconds(ms: number): number {
  return Math.round(ms / 1000);
}
