/**
 * What third parties may know of our certificates, at paths that two listeners share: revocation lists, CA certificates
 * and OCSP. Knows paths and no sockets. Rollcall's own doors use none of it.
 */

import { X509Certificate } from 'node:crypto';
import { Problem, ROOT_LISTS_PATH } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { IssuedCertificate, PublishedStatusStore, Registry } from '../../registry/index.ts';
import type { CaDirectory } from '../ca/ca-directory.ts';
import type { CaSet, SigningCa } from '../ca/ca-set.ts';
import type { Signer } from '../ca/signer.ts';
import { pem } from '../x509/pem.ts';
import type { StatusUrls } from '../x509/profile.ts';
import { type CrlPublisher, createCrlPublisher } from './crl-publisher.ts';
import { createOcspResponder } from './ocsp-responder.ts';
import { createRootCrls } from './root-crls.ts';

export interface StatusDocument {
  readonly mediaType: string;
  readonly body: Buffer;
  /** Seconds for which it may be kept. */
  readonly maxAge: number;
}

export interface StatusPublication {
  start(): Promise<void>;
  /** DER of the list of the issuing CA that signs. */
  crl(): Promise<Buffer>;
  /** Undefined for a path that is none of ours. */
  document(path: string): Promise<StatusDocument | undefined>;
  /** DER of an OCSPResponse. */
  ocsp(request: Buffer): Promise<Buffer>;
  refresh(): Promise<void>;
  /** CAs came or went. */
  caChanged(): Promise<void>;
  /** Revocation lists of roots as devices get them, PEM. */
  rootCrlsPem(): string;
  /** The end of the list of the active root, milliseconds since the epoch; undefined when there is none. */
  rootCrlNextUpdate(): number | undefined;
  close(): Promise<void>;
}

const HOUR_MS = 3600 * 1000;
const MAX_AGE = 300;
const LIST = /^\/crl\/([0-9a-f]{40})(-delta)?\.crl$/;
const CA_CERTIFICATE = /^\/ca\/([0-9a-f]{40})\.cer$/;

export function createStatusPublication(options: {
  readonly current: () => CaSet;
  readonly rootSigner: (id: string) => Promise<Signer | undefined>;
  readonly directory: CaDirectory;
  readonly registry: PublishedStatusStore & Pick<Registry, 'nextCrlNumber'>;
  readonly issueResponder: (ca: SigningCa, publicKeySpki: Buffer) => Promise<IssuedCertificate>;
  /** Told when a list of a root was made because the one before was due. */
  readonly rootListsRenewed: () => Promise<void>;
  readonly urls: ((issuerId: string) => StatusUrls) | undefined;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}): StatusPublication {
  const { current, registry, backdateSeconds, now, log } = options;
  const publishers = new Map<string, CrlPublisher>();
  const roots = createRootCrls(options);
  const responder = createOcspResponder({ ...options, issuing: () => current().issuing });
  let timer: NodeJS.Timeout | undefined;

  const publisherOf = (id: string): CrlPublisher | undefined => {
    const ca = current().issuing.find((each) => each.id === id);
    if (ca?.signer === undefined) return undefined;
    let publisher = publishers.get(id);
    if (publisher === undefined) {
      const deltaUrl = options.urls?.(id).crl.replace(/\.crl$/, '-delta.crl');
      publisher = createCrlPublisher({ ca: ca as SigningCa, registry, deltaUrl, backdateSeconds, now, log });
      publishers.set(id, publisher);
    }
    return publisher;
  };

  let gathered: { readonly of: readonly Buffer[]; readonly text: Buffer } | undefined;

  /** All lists of all CAs, as servers want them that check a whole chain. Written anew when one of them was. */
  const allLists = async (): Promise<Buffer> => {
    const lists = current().issuing.map(async ({ id }) => (await publisherOf(id)?.current())?.full);
    const of = [...roots.all(), ...(await Promise.all(lists))].filter((der) => der !== undefined);
    if (gathered?.of.length !== of.length || of.some((der, index) => der !== gathered?.of[index])) {
      gathered = { of, text: Buffer.from(of.map((der) => pem(der, 'X509 CRL')).join('')) };
    }
    return gathered.text;
  };

  const list = (body: Buffer | undefined): StatusDocument | undefined =>
    body && { mediaType: 'application/pkix-crl', body, maxAge: MAX_AGE };

  const refresh = async (): Promise<void> => {
    await Promise.all(current().issuing.map(({ id }) => publisherOf(id)?.refresh()));
  };

  return {
    start: async () => {
      await roots.refresh();
      timer = setInterval(() => {
        const renewed = roots.refresh().then((isNew) => (isNew ? options.rootListsRenewed() : undefined));
        Promise.all([refresh(), renewed]).catch((error: unknown) => {
          log.error({ err: error }, 'revocation lists were not rebuilt');
        });
      }, HOUR_MS);
      timer.unref();
    },
    crl: async () => {
      const pair = await publisherOf(current().active.id)?.current();
      if (pair === undefined)
        throw new Problem('unavailable', { reason: 'expected the key of the issuing CA that signs' });
      return pair.full;
    },
    document: async (path) => {
      if (path === '/crl/issuing.crl') return list((await publisherOf(current().active.id)?.current())?.full);
      if (path === '/crl/all.pem')
        return { mediaType: 'application/x-pem-file', body: await allLists(), maxAge: MAX_AGE };
      if (path === ROOT_LISTS_PATH)
        return { mediaType: 'application/x-pem-file', body: Buffer.from(roots.forDevices()), maxAge: MAX_AGE };
      const [, listed, isDelta] = LIST.exec(path) ?? [];
      if (listed !== undefined) {
        const pair = await publisherOf(listed)?.current();
        return list(
          pair === undefined
            ? isDelta === undefined
              ? roots.find(listed)
              : undefined
            : isDelta
              ? pair.delta
              : pair.full,
        );
      }
      const [, shown] = CA_CERTIFICATE.exec(path) ?? [];
      const ca = [...current().roots, ...current().issuing].find(({ id }) => id === shown);
      return ca && { mediaType: 'application/pkix-cert', body: new X509Certificate(ca.der).raw, maxAge: MAX_AGE };
    },
    ocsp: (request) => responder.respond(request),
    refresh,
    caChanged: async () => {
      responder.clearIssuers();
      const kept = new Set(current().issuing.map(({ id }) => id));
      for (const id of publishers.keys()) if (!kept.has(id)) publishers.delete(id);
      await roots.refresh();
    },
    rootCrlsPem: () => roots.forDevices(),
    rootCrlNextUpdate: () => roots.nextUpdate(current().root.id),
    close: async () => {
      clearInterval(timer);
      await Promise.all([...publishers.values()].map((publisher) => publisher.close()));
    },
  };
}
