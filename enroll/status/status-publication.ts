/**
 * Certificate status for third parties: CRLs, CA certificates and OCSP, at paths that the enroll server and the status
 * server share. Knows paths and no sockets. Rollcall itself reads the registry and never depends on these documents.
 */

import { X509Certificate } from 'node:crypto';
import { Problem, ROOT_CRLS_PATH } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { IssuedCertificate, PublishedStatusStore, Registry } from '../../registry/index.ts';
import type { CaDirectory } from '../ca/ca-directory.ts';
import type { CaSet, SigningCa } from '../ca/ca-set.ts';
import type { Signer } from '../ca/signer.ts';
import { pem } from '../x509/pem.ts';
import type { StatusUrls } from '../x509/profile.ts';
import { type CrlPublisher, type CrlValidity, createCrlPublisher, type IssuedCrlFacts } from './crl-publisher.ts';
import { createOcspResponder, type OcspResponder, type OcspSignerCertificate } from './ocsp-responder.ts';
import { createRootCrls, type RootCrls } from './root-crls.ts';

export interface StatusDocument {
  readonly mediaType: string;
  readonly body: Buffer;
  /** Seconds for which a client may cache it. */
  readonly maxAge: number;
}

export interface PublishedCa {
  readonly caId: string;
  readonly role: 'root' | 'issuing';
  readonly crl: (Omit<IssuedCrlFacts, 'delta'> & Partial<Pick<IssuedCrlFacts, 'delta'>>) | undefined;
  readonly urls: StatusUrls | undefined;
}

export interface StatusPublication {
  /** DER of the CRL of the active issuing CA, valid now. */
  crl(): Promise<Buffer>;
  /** Undefined for an unknown path. */
  document(path: string): Promise<StatusDocument | undefined>;
  /** DER of an OCSPResponse. */
  ocsp(request: Buffer): Promise<Buffer>;
  /** Issues CRLs that contain every revocation committed before this call; overlapping calls share one run. */
  refresh(): Promise<void>;
  /** Every CA that is not retired, with its CRL if one was issued, and where third parties find it. Issues nothing. */
  describe(): readonly PublishedCa[];
  /** The dates of the CRLs that were issued, by CA. */
  crlValidity(): ReadonlyMap<string, CrlValidity>;
  listOcspSigners(): Promise<readonly OcspSignerCertificate[]>;
  /** The CRLs of roots in the form that devices receive, PEM. */
  rootCrlsPem(): string;
}

export interface OwnStatusPublication extends StatusPublication {
  /** Issues the CRLs of roots that are due, and starts the timer. */
  start(): Promise<void>;
  onCasChanged(): Promise<void>;
  /** Resolves when no CRL is being issued. */
  close(): Promise<void>;
}

export interface StatusPublicationOptions {
  readonly cas: () => CaSet;
  readonly rootSigner: (id: string) => Promise<Signer | undefined>;
  readonly directory: CaDirectory;
  /** Lists of roots are on other nodes. */
  readonly isKeyless?: boolean | undefined;
  readonly registry: PublishedStatusStore & Pick<Registry, 'nextCrlNumber'>;
  /** Issues and records the certificate of an OCSP responder. */
  readonly issueOcspCertificate: (ca: SigningCa, publicKeySpki: Buffer) => Promise<IssuedCertificate>;
  /** Called when the timer has issued a new CRL of a root. */
  readonly onRootCrlsRenewed: () => Promise<void>;
  readonly urls: ((issuerId: string) => StatusUrls) | undefined;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}

const HOUR_MS = 3600 * 1000;
const MAX_AGE = 300;
const CRL_OF_ACTIVE_CA = '/crl/issuing.crl';
const CRLS_OF_ALL_CAS = '/crl/all.pem';
const CRL_OF_CA = /^\/crl\/([0-9a-f]{40})(-delta)?\.crl$/;
const CA_CERTIFICATE = /^\/ca\/([0-9a-f]{40})\.cer$/;

export function createStatusPublication(options: StatusPublicationOptions): OwnStatusPublication {
  return new Publication(options);
}

class Publication implements OwnStatusPublication {
  readonly #options: StatusPublicationOptions;
  /** By CA. */
  readonly #publishers = new Map<string, CrlPublisher>();
  readonly #roots: RootCrls;
  readonly #responder: OcspResponder;
  #allCrls: { readonly of: readonly Buffer[]; readonly text: Buffer } | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: StatusPublicationOptions) {
    this.#options = options;
    this.#roots = createRootCrls(options);
    this.#responder = createOcspResponder({ ...options, issuing: () => options.cas().issuing });
  }

  async start(): Promise<void> {
    await this.#roots.refresh();
    this.#timer = setInterval(() => {
      Promise.all([this.refresh(), this.#renewRootCrls()]).catch((error: unknown) => {
        this.#options.log.error({ err: error }, 'CRLs were not issued');
      });
    }, HOUR_MS).unref();
  }

  async crl(): Promise<Buffer> {
    const pair = await this.#publisherOf(this.#options.cas().active.id)?.current();
    if (pair === undefined)
      throw new Problem('unavailable', { reason: 'expected the key of the active issuing CA, found none' });
    return pair.full;
  }

  async document(path: string): Promise<StatusDocument | undefined> {
    if (path === CRL_OF_ACTIVE_CA) return crlDocument(await this.#crlOf(this.#options.cas().active.id));
    if (path === CRLS_OF_ALL_CAS) return pemDocument(await this.#crlsOfAllCas());
    if (path === ROOT_CRLS_PATH) return pemDocument(Buffer.from(this.#roots.forDevices()));
    const [, crlIssuer, delta] = CRL_OF_CA.exec(path) ?? [];
    if (crlIssuer !== undefined)
      return crlDocument(await this.#crlOf(crlIssuer, delta === undefined ? 'full' : 'delta'));
    const [, caId] = CA_CERTIFICATE.exec(path) ?? [];
    return caId === undefined ? undefined : this.#caCertificate(caId);
  }

  ocsp(request: Buffer): Promise<Buffer> {
    return this.#responder.respond(request);
  }

  async refresh(): Promise<void> {
    await Promise.all(this.#options.cas().issuing.map(({ id }) => this.#publisherOf(id)?.refresh()));
  }

  crlValidity(): ReadonlyMap<string, CrlValidity> {
    const ofIssuing = [...this.#publishers].map(([id, publisher]) => [id, publisher.validity()] as const);
    return new Map([
      ...this.#roots.validity(),
      ...ofIssuing.flatMap(([id, validity]) => (validity === undefined ? [] : [[id, validity] as const])),
    ]);
  }

  describe(): readonly PublishedCa[] {
    const { cas, urls } = this.#options;
    const { roots, issuing } = cas();
    return [
      ...roots.map(({ id }) => ({ caId: id, role: 'root' as const, crl: this.#roots.describe(id), urls: urls?.(id) })),
      ...issuing.map(({ id }) => ({
        caId: id,
        role: 'issuing' as const,
        crl: this.#publishers.get(id)?.describe(),
        urls: urls?.(id),
      })),
    ];
  }

  listOcspSigners(): Promise<readonly OcspSignerCertificate[]> {
    return this.#responder.listSigners();
  }

  async onCasChanged(): Promise<void> {
    this.#responder.clearIssuers();
    const issuing = new Set(this.#options.cas().issuing.map(({ id }) => id));
    for (const id of this.#publishers.keys()) if (!issuing.has(id)) this.#publishers.delete(id);
    await this.#roots.refresh();
  }

  rootCrlsPem(): string {
    return this.#roots.forDevices();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all([...this.#publishers.values()].map((publisher) => publisher.close()));
  }

  async #renewRootCrls(): Promise<void> {
    if (await this.#roots.refresh()) await this.#options.onRootCrlsRenewed();
  }

  /** Undefined when the CA is retired or its key is not on this machine. */
  #publisherOf(id: string): CrlPublisher | undefined {
    const { cas, registry, urls, backdateSeconds, now, log } = this.#options;
    const ca = cas().issuing.find((each) => each.id === id);
    if (ca?.signer === undefined) return undefined;
    const known = this.#publishers.get(id);
    if (known !== undefined) return known;
    const deltaUrl = urls?.(id).crl.replace(/\.crl$/, '-delta.crl');
    const publisher = createCrlPublisher({ ca: ca as SigningCa, registry, deltaUrl, backdateSeconds, now, log });
    this.#publishers.set(id, publisher);
    return publisher;
  }

  /** The CRL of an issuing CA or of a root. A root has no delta CRL. */
  async #crlOf(id: string, kind: 'full' | 'delta' = 'full'): Promise<Buffer | undefined> {
    const pair = await this.#publisherOf(id)?.current();
    if (pair !== undefined) return pair[kind];
    return kind === 'full' ? this.#roots.find(id) : undefined;
  }

  /** For servers that check a whole chain. The text is built again only when a CRL has changed. */
  async #crlsOfAllCas(): Promise<Buffer> {
    const ofIssuing = this.#options.cas().issuing.map(({ id }) => this.#publisherOf(id)?.current());
    const full = (await Promise.all(ofIssuing)).map((pair) => pair?.full);
    const of = [...this.#roots.all(), ...full].filter((der) => der !== undefined);
    if (this.#allCrls?.of.length !== of.length || of.some((der, index) => der !== this.#allCrls?.of[index])) {
      this.#allCrls = { of, text: Buffer.from(of.map((der) => pem(der, 'X509 CRL')).join('')) };
    }
    return this.#allCrls.text;
  }

  #caCertificate(id: string): StatusDocument | undefined {
    const { roots, issuing } = this.#options.cas();
    const ca = [...roots, ...issuing].find((each) => each.id === id);
    return ca && { mediaType: 'application/pkix-cert', body: new X509Certificate(ca.der).raw, maxAge: MAX_AGE };
  }
}

function crlDocument(body: Buffer | undefined): StatusDocument | undefined {
  return body && { mediaType: 'application/pkix-crl', body, maxAge: MAX_AGE };
}

function pemDocument(body: Buffer): StatusDocument {
  return { mediaType: 'application/x-pem-file', body, maxAge: MAX_AGE };
}
