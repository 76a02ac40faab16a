/**
 * The CRLs of roots: which issuing CAs are revoked, and which roots the fleet has. A CRL is signed while the root's key is
 * on this machine and stored in a file; it is valid for a year, so that a key kept elsewhere is not needed often. The
 * CRLs of retired roots are stored too: devices learn from them that the root is retired.
 */

import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { parseDecimal } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { IssuerRecord } from '../../registry/index.ts';
import type { CaDirectory, CaName } from '../ca/ca-directory.ts';
import { type CaSet, caId, certificatesInPem } from '../ca/ca-set.ts';
import type { Signer } from '../ca/signer.ts';
import { certificateSerial, readIssuer } from '../x509/certificate-check.ts';
import { pem } from '../x509/pem.ts';
import type { CertificateIssuer } from '../x509/profile.ts';
import type { CrlValidity, IssuedCrlFacts } from './crl-publisher.ts';
import { type CrlEntry, type CrlFields, type TrustStatement, writeCrl, writeCrlEntries } from './crl-writer.ts';

export interface RootCrls {
  /**
   * Issues every CRL that is due or incomplete and whose key is on this machine. True when one was issued. Never rejects:
   * errors are logged.
   */
  refresh(): Promise<boolean>;
  /** DER, of the roots that are not retired. */
  all(): readonly Buffer[];
  /** PEM, of all roots, the retired ones included. */
  forDevices(): string;
  /** The end of each CRL that devices receive, by root; milliseconds since the epoch. */
  validity(): ReadonlyMap<string, CrlValidity>;
  /** The stored CRL of a root, also of a retired one; undefined without one. */
  describe(id: string): Omit<IssuedCrlFacts, 'delta'> | undefined;
  /** DER, of a root that is not retired. */
  find(id: string): Buffer | undefined;
}

const YEAR_MS = 365 * 24 * 3600 * 1000;
const WARN_BEFORE_END_MS = 60 * 24 * 3600 * 1000;
const CRLS_FOR_DEVICES_MAX = 8;

/** A CRL as stored. The first line of its file describes it, so that reading it needs no CRL parser. */
interface StoredCrl {
  readonly nextUpdate: number;
  /** Serials of the entries, hexadecimal, separated by spaces. */
  readonly serials: string;
  /** SHA-256 of the trust statement, hexadecimal; empty in files of earlier versions. */
  readonly statement: string;
  /** CRL number; 0 in files of earlier versions, whose numbers were small. */
  readonly number: number;
  readonly der: Buffer;
}

/** What the CRL of a root has to contain. */
interface RequiredContents {
  readonly entries: readonly CrlEntry[];
  readonly serials: string;
  readonly trust: TrustStatement;
  readonly statement: string;
}

type Root = CertificateIssuer & { readonly id: string; readonly publicKey: KeyObject };

export interface RootCrlsOptions {
  readonly cas: () => CaSet;
  readonly rootSigner: (id: string) => Promise<Signer | undefined>;
  readonly directory: CaDirectory;
  /** Lists of roots are on other nodes. */
  readonly isKeyless?: boolean | undefined;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}

export function createRootCrls(options: RootCrlsOptions): RootCrls {
  return new StoredRootCrls(options);
}

class StoredRootCrls implements RootCrls {
  readonly #options: RootCrlsOptions;
  readonly #crls = new Map<string, StoredCrl>();
  /** The trust statement that was logged as missing, by root: one line is enough. */
  readonly #warned = new Map<string, string>();

  constructor(options: RootCrlsOptions) {
    this.#options = options;
  }

  async refresh(): Promise<boolean> {
    const { cas, now, log, isKeyless = false } = this.#options;
    if (isKeyless) return false;
    let isNew = false;
    for (const root of cas().records) {
      if (root.role !== 'root' || root.notAfter <= now()) continue;
      const isIssued = await this.#refreshRoot(root).catch((error: unknown) => {
        log.error({ err: error, ca: root.id }, 'CRL of the root could not be issued');
        return false;
      });
      isNew ||= isIssued;
    }
    return isNew;
  }

  forDevices(): string {
    const crls = this.#rootsForDevices().map(({ id }) => this.#crls.get(id)?.der);
    return crls.map((der) => (der === undefined ? '' : pem(der, 'X509 CRL'))).join('');
  }

  all(): readonly Buffer[] {
    const ders = this.#options.cas().roots.map(({ id }) => this.#crls.get(id)?.der);
    return ders.filter((der) => der !== undefined);
  }

  validity(): ReadonlyMap<string, CrlValidity> {
    const known = this.#rootsForDevices().map(({ id }) => [id, this.#crls.get(id)?.nextUpdate] as const);
    return new Map(
      known.flatMap(([id, nextUpdate]) =>
        nextUpdate === undefined ? [] : [[id, { issuedAt: nextUpdate - YEAR_MS, nextUpdate }] as const],
      ),
    );
  }

  describe(id: string): Omit<IssuedCrlFacts, 'delta'> | undefined {
    const stored = this.#crls.get(id);
    if (stored === undefined) return undefined;
    const { nextUpdate, number, der, serials } = stored;
    const entries = serials === '' ? 0 : serials.split(' ').length;
    return { issuedAt: nextUpdate - YEAR_MS, nextUpdate, number, entries, bytes: der.length };
  }

  find(id: string): Buffer | undefined {
    const isCurrent = this.#options.cas().roots.some((root) => root.id === id);
    return isCurrent ? this.#crls.get(id)?.der : undefined;
  }

  #rootsForDevices(): readonly IssuerRecord[] {
    const { cas, now } = this.#options;
    const roots = cas().records.filter(({ role, notAfter }) => role === 'root' && notAfter > now());
    // The newest are the relevant ones, and a bundle has to stay short.
    return roots.slice(-CRLS_FOR_DEVICES_MAX);
  }

  /** Issues the CRL when it is due or incomplete, and the key is on this machine. True when it was issued. */
  async #refreshRoot(record: IssuerRecord): Promise<boolean> {
    const { cas, directory, now, rootSigner } = this.#options;
    const root: Root = { id: record.id, ...readIssuer(Buffer.from(record.der)) };
    const name = await fileNameOf(root.id, directory);
    const stored = this.#crls.get(root.id) ?? readStoredCrl(await directory.readText(name, 'crl'));
    if (stored !== undefined) this.#crls.set(root.id, stored);
    const required = requiredContents(root, cas().records, now());
    const isComplete = stored?.serials === required.serials && stored.statement === required.statement;
    if (isComplete && stored.nextUpdate - now() >= YEAR_MS / 2) return false;
    const signer = await rootSigner(root.id);
    if (signer === undefined) {
      this.#warn(record, stored, isComplete ? undefined : required.statement);
      return false;
    }
    this.#crls.set(root.id, await this.#issue(root, name, required, stored?.number ?? 0, signer));
    return true;
  }

  /** The key of the root is not on this machine. */
  #warn({ id, state }: IssuerRecord, stored: StoredCrl | undefined, missing: string | undefined): void {
    const { now, log } = this.#options;
    if (missing !== undefined && state !== 'retired' && this.#warned.get(id) !== missing) {
      this.#warned.set(id, missing);
      log.warn({ ca: id }, 'the CRL of the root lacks the latest changes; the key of the root is not on this machine');
    }
    if (stored !== undefined && stored.nextUpdate - now() < WARN_BEFORE_END_MS) {
      const ends = new Date(stored.nextUpdate).toISOString();
      log.warn({ ca: id, ends }, 'the CRL of the root expires soon; the key of the root is not on this machine');
    }
  }

  async #issue(
    root: Root,
    name: CaName,
    { entries, serials, trust, statement }: RequiredContents,
    lastNumber: number,
    signer: Signer,
  ): Promise<StoredCrl> {
    const { directory, backdateSeconds, now, log } = this.#options;
    const at = now();
    const nextUpdate = Math.min(at + YEAR_MS, root.notAfter);
    // Devices refuse a lower number, and a restored backup would have an older counter. So the number is the time.
    const number = Math.max(at, lastNumber + 1);
    const fields: CrlFields = {
      issuer: root.subject,
      keyIdentifier: root.keyIdentifier,
      number,
      thisUpdate: Math.max(at - backdateSeconds * 1000, root.notBefore),
      nextUpdate,
      lists: 'authorities',
      statement: trust,
    };
    const der = await writeCrl(fields, writeCrlEntries(entries), signer);
    const description = `# ends=${nextUpdate} serials=${serials} says=${statement} number=${number}`;
    await directory.replaceText(name, 'crl', `${description}\n${pem(der, 'X509 CRL')}`);
    log.info({ ca: root.id, entries: entries.length }, 'CRL of the root issued');
    return { nextUpdate, serials, statement, number, der };
  }
}

/** The name of the root's files. A root without a file here has its CRL under a name of its id. */
async function fileNameOf(id: string, directory: CaDirectory): Promise<CaName> {
  for (const name of await directory.names('pem')) {
    if (!name.startsWith('root')) continue;
    const der = await directory.readCertificate(name);
    if (der !== undefined && caId(readIssuer(der).publicKeySpki) === id) return name;
  }
  return `root-${id.slice(0, 8)}`;
}

/** Entries for every retired CA that the root signed or cross-certified, and the root's statement about its fleet. */
function requiredContents(root: Root, records: readonly IssuerRecord[], now: number): RequiredContents {
  const entries = records.flatMap((record): readonly CrlEntry[] => {
    if (record.state !== 'retired') return [];
    const signed = record.rootId === root.id ? [Buffer.from(record.der)] : crossCertificatesOf(record, root.publicKey);
    const revokedAt = record.retiredAt ?? now;
    return signed.map((der) => ({ serial: certificateSerial(der), revokedAt, reason: 'superseded' }));
  });
  const trust = statementOf(root.id, records, now);
  const serials = entries.map(({ serial }) => serial).join(' ');
  return { entries, serials, trust, statement: digestOf(trust) };
}

/** The cross-certificates of a retired root that the root with this key signed. */
function crossCertificatesOf(retired: IssuerRecord, publicKey: KeyObject): readonly Buffer[] {
  if (retired.role !== 'root') return [];
  return certificatesInPem(retired.chain).filter((der) => {
    const cross = new X509Certificate(der);
    return caId(readIssuer(der).publicKeySpki) === retired.id && cross.verify(publicKey);
  });
}

function statementOf(rootId: string, records: readonly IssuerRecord[], now: number): TrustStatement {
  const roots = records.filter(({ role, notAfter }) => role === 'root' && notAfter > now);
  const tainted = records.filter((found) => found.rootId === rootId && found.state === 'tainted');
  const digests = (of: readonly IssuerRecord[]) => of.map(({ der }) => createHash('sha256').update(der).digest());
  return {
    roots: digests(roots.filter(({ state }) => state !== 'retired')),
    retiredRoots: digests(roots.filter(({ state }) => state === 'retired')),
    taintedIssuers: tainted.map(({ der }) => certificateSerial(Buffer.from(der))),
  };
}

function digestOf({ roots, retiredRoots, taintedIssuers }: TrustStatement): string {
  const hex = (each: Buffer) => each.toString('hex');
  const text = JSON.stringify([roots.map(hex), retiredRoots.map(hex), taintedIssuers]);
  return createHash('sha256').update(text).digest('hex');
}

function readStoredCrl(text: string | undefined): StoredCrl | undefined {
  const form =
    /^# ends=(\d+) serials=([0-9a-f ]*?)(?: says=([0-9a-f]{64}))?(?: number=(\d+))?\n-----BEGIN X509 CRL-----\n([^-]+)-----END/;
  const [, endsText, serials = '', statement = '', numberText = '0', body = ''] = form.exec(text ?? '') ?? [];
  const nextUpdate = parseDecimal(endsText, 0);
  const number = parseDecimal(numberText, 0);
  if (nextUpdate === undefined || number === undefined) return undefined;
  return { nextUpdate, serials, statement, number, der: Buffer.from(body, 'base64') };
}
