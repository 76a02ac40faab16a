/**
 * The certificate authority of a running server, put together: keys and CAs from the settings, the plain-HTTP listener
 * for those who check certificates, and what operators may ask of them.
 */

import { CRL_PATH, Problem, serverUrl } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Broker } from '../broker/index.ts';
import type { CaControl } from '../console/index.ts';
import {
  type Authority,
  type CredentialFiles,
  createStatusServer,
  openAuthority,
  type RenewalSchedule,
  type ServerName,
  type StatusServer,
} from '../enroll/index.ts';
import type { RequestLimits } from '../limits/index.ts';
import type { IssuerRecord, Registry } from '../registry/index.ts';
import { expectPlausibleClock } from './clock.ts';
import type { Config } from './config/config.ts';

export interface FleetAuthority {
  readonly authority: Authority;
  /** `http://host:port`; undefined without the listener. */
  readonly statusUrl: string | undefined;
  close(): Promise<void>;
}

export async function openFleetAuthority(options: {
  readonly config: Config;
  readonly directory: string;
  readonly publicHost: string;
  readonly registry: Registry;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly requestLimits: RequestLimits;
  readonly now: () => number;
  readonly log: Logger;
}): Promise<FleetAuthority> {
  const { config, registry, requestLimits, now, log } = options;
  let authority: Authority | undefined;
  // It listens first, because its address stands in every certificate, the first ones included.
  const listener = await startStatusServer(config, () => authority, { requestLimits, now, log });
  const statusUrl = listener && (config.certificateStatus.url || serverUrl('http', options.publicHost, listener.port));
  try {
    authority = await openAuthority({
      directory: options.directory,
      trustDomain: config.trustDomain,
      hosts: config.publicHosts,
      statusUrls: statusUrlsOf(statusUrl, config, options.publicHost),
      keys: {
        store: config.certificates.keys.home,
        passphraseFile: config.certificates.keys.passphraseFile || undefined,
        pkcs11: config.certificates.keys.pkcs11.module === '' ? undefined : config.certificates.keys.pkcs11,
        credentialsDirectory: options.environment.CREDENTIALS_DIRECTORY,
      },
      serverFiles: serverFilesOf(config),
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
    await listener?.close();
    throw error;
  }
  const opened = authority;
  return {
    authority: opened,
    statusUrl,
    close: async () => {
      await listener?.close();
      await opened.close();
    },
  };
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
    if (found === undefined) throw new Problem('unavailable', { reason: 'the server starts' });
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
  // A port that is only known after the certificates were made can't stand in them.
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

/** What operators may ask: the steps of a rotation, with those who follow from them. */
export function caControl(deps: {
  readonly authority: Authority;
  readonly registry: Registry;
  readonly renewals: RenewalSchedule;
  readonly broker: Pick<Broker, 'sessions' | 'disconnect'>;
  readonly now: () => number;
}): CaControl {
  const { authority, registry, renewals, broker, now } = deps;
  const { rotation } = authority;

  /** Sessions of those who were given up with their CA. Whoever holds a certificate that counts may stay. */
  const cutOffStranded = async (id: string): Promise<void> => {
    const counting = new Set(authority.cas.issuing.map((ca) => ca.id));
    for (const { identity, serial } of broker.sessions()) {
      if ((await registry.publishedStatus(id, serial)).state === 'unknown') continue;
      const held = await registry.listCertificates(identity);
      const isIn = held.some(
        ({ issuerId, revokedAt, notAfter }) =>
          counting.has(issuerId ?? '') && revokedAt === undefined && notAfter > now(),
      );
      if (!isIn) await broker.disconnect(identity, 'operator');
    }
  };

  return {
    list: async () => {
      const rootKeys = new Set(await rotation.rootKeys());
      const records = await registry.listIssuers();
      return Promise.all(
        records.map(async (record) => ({
          ...viewOf(record),
          hasKey:
            record.role === 'root'
              ? rootKeys.has(record.id)
              : authority.cas.issuing.some(({ id, signer }) => id === record.id && signer !== undefined),
          issued: record.role === 'root' ? 0 : await registry.countIssued(record.id),
          stranded: await registry.countStranded(record.id),
        })),
      );
    },
    prepare: async (role, actor) => {
      // The clock may have been set since the start.
      expectPlausibleClock(now());
      return rotation.prepare(role, actor);
    },
    activate: (id, strand, actor) => rotation.activate(id, strand, actor),
    taint: async (id, withinMs, actor) => {
      await rotation.taint(id, actor);
      return renewals.pull({ issuerId: id, withinMs, reason: 'ca_rotation', actor });
    },
    retire: async (id, strand, actor) => {
      await rotation.retire(id, strand, actor);
      if (strand > 0) await cutOffStranded(id);
    },
    request: () => rotation.request(),
    importChain: (pem, actor) => rotation.importChain(pem, actor),
    exportRoot: (passphrase, actor) => rotation.exportRoot(Buffer.from(passphrase), actor),
    removeRootKey: (id, actor) => rotation.forgetRoot(id, actor),
  };
}

function viewOf({ id, role, state, rootId, notBefore, notAfter }: IssuerRecord) {
  return { id, role, state, rootId, notBefore, notAfter };
}

function seconds(ms: number): number {
  return Math.round(ms / 1000);
}
