/**
 * Revocation lists of roots: which issuing CAs count no more, and which roots the fleet has. Signed while the root's key is
 * here, kept in files, and long enough that a key which was taken away isn't fetched back for them. Those of roots that are
 * retired are kept as well: by them devices learn of it.
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
import { type CrlEntry, type TrustStatement, writeCrl, writeCrlEntries } from './crl-writer.ts';

export interface RootCrls {
  /** Makes those anew that are due or say too little, where the key is here. True when one was made. Never fails: it logs. */
  refresh(): Promise<boolean>;
  /** DER, of the roots that count. */
  all(): readonly Buffer[];
  /** PEM, of those and of the ones that are retired. */
  forDevices(): string;
  find(id: string): Buffer | undefined;
  /** Milliseconds since the epoch. */
  nextUpdate(id: string): number | undefined;
}

const YEAR_MS = 365 * 24 * 3600 * 1000;
const WARN_BEFORE_END_MS = 60 * 24 * 3600 * 1000;
const LISTS_FOR_DEVICES_MAX = 8;

/** First line of its file: what is in the list, so that it needs no parser of its own. */
interface Held {
  readonly ends: number;
  readonly serials: string;
  /** SHA-256 of the statement, hexadecimal; empty in files of earlier versions. */
  readonly statement: string;
  /** CRL number; 0 in files of earlier versions, whose numbers were small. */
  readonly number: number;
  readonly der: Buffer;
}

export function createRootCrls(options: {
  readonly current: () => CaSet;
  readonly rootSigner: (id: string) => Promise<Signer | undefined>;
  readonly directory: CaDirectory;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}): RootCrls {
  const { current, directory, now, log } = options;
  const held = new Map<string, Held>();
  /** What was said to be lacking, by root: once is enough. */
  const warned = new Map<string, string>();

  const nameOf = async (id: string): Promise<CaName | undefined> => {
    for (const name of await directory.names('pem')) {
      if (!name.startsWith('root')) continue;
      const der = await directory.readCertificate(name);
      if (der !== undefined && caIdOf(der) === id) return name;
    }
    return undefined;
  };

  const refreshOne = async (record: IssuerRecord): Promise<boolean> => {
    const { records } = current();
    const root = { id: record.id, ...readIssuer(Buffer.from(record.der)) };
    const name = (await nameOf(root.id)) ?? (`root-${root.id.slice(0, 8)}` as const);
    const known = held.get(root.id) ?? readHeld(await directory.readText(name, 'crl'));
    if (known !== undefined) held.set(root.id, known);
    const entries = records.flatMap((found): readonly CrlEntry[] => {
      if (found.state !== 'retired') return [];
      const given = found.rootId === root.id ? [Buffer.from(found.der)] : crossedBy(root.publicKey, found);
      const revokedAt = found.retiredAt ?? now();
      return given.map((der) => ({ serial: certificateSerial(der), revokedAt, reason: 'superseded' }));
    });
    const serials = entries.map(({ serial }) => serial).join(' ');
    const says = statementOf(root.id, records, now());
    const statement = digestOf(says);
    const isComplete = known?.serials === serials && known.statement === statement;
    const isDue = known === undefined || known.ends - now() < YEAR_MS / 2 || !isComplete;
    if (!isDue) return false;
    const signer = await options.rootSigner(root.id);
    if (signer === undefined) {
      if (!isComplete && record.state !== 'retired' && warned.get(root.id) !== statement) {
        warned.set(root.id, statement);
        log.warn({ ca: root.id }, 'the revocation list of the root lacks what changed since; its key is not here');
      }
      if (known !== undefined && known.ends - now() < WARN_BEFORE_END_MS) {
        log.warn(
          { ca: root.id, ends: new Date(known.ends).toISOString() },
          'the revocation list of the root ends soon; its key is not here',
        );
      }
      return false;
    }
    const at = now();
    const ends = Math.min(at + YEAR_MS, root.notAfter);
    // Of the time, not of a counter: devices refuse a lower number, and a restored backup would have an older counter.
    const number = Math.max(at, (known?.number ?? 0) + 1);
    const der = await writeCrl(
      {
        issuer: root.subject,
        keyIdentifier: root.keyIdentifier,
        number,
        thisUpdate: Math.max(at - options.backdateSeconds * 1000, root.notBefore),
        nextUpdate: ends,
        lists: 'authorities',
        statement: says,
      },
      writeCrlEntries(entries),
      signer,
    );
    await directory.replaceText(
      name,
      'crl',
      `# ends=${ends} serials=${serials} says=${statement} number=${number}\n${pem(der, 'X509 CRL')}`,
    );
    held.set(root.id, { ends, serials, statement, number, der });
    log.info({ ca: root.id, entries: entries.length }, 'revocation list of the root made');
    return true;
  };

  return {
    refresh: async () => {
      let isNew = false;
      for (const root of current().records) {
        if (root.role !== 'root' || root.notAfter <= now()) continue;
        const isMade = await refreshOne(root).catch((error: unknown) => {
          log.error({ err: error, ca: root.id }, 'revocation list of the root could not be made');
          return false;
        });
        isNew ||= isMade;
      }
      return isNew;
    },
    forDevices: () => {
      const roots = current().records.filter(({ role, notAfter }) => role === 'root' && notAfter > now());
      // The newest say what matters; a bundle is short.
      const lists = roots.slice(-LISTS_FOR_DEVICES_MAX).map(({ id }) => held.get(id)?.der);
      return lists.map((der) => (der === undefined ? '' : pem(der, 'X509 CRL'))).join('');
    },
    all: () =>
      current()
        .roots.map(({ id }) => held.get(id)?.der)
        .filter((der) => der !== undefined),
    find: (id) => (current().roots.some((root) => root.id === id) ? held.get(id)?.der : undefined),
    nextUpdate: (id) => held.get(id)?.ends,
  };

  function caIdOf(der: Buffer): string {
    return caId(readIssuer(der).publicKeySpki);
  }
}

/** Certificates by which a root vouched for one that is retired. */
function crossedBy(publicKey: KeyObject, retired: IssuerRecord): readonly Buffer[] {
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

function readHeld(text: string | undefined): Held | undefined {
  const form =
    /^# ends=(\d+) serials=([0-9a-f ]*?)(?: says=([0-9a-f]{64}))?(?: number=(\d+))?\n-----BEGIN X509 CRL-----\n([^-]+)-----END/;
  const [, endsText, serials = '', statement = '', numberText = '0', body = ''] = form.exec(text ?? '') ?? [];
  const ends = parseDecimal(endsText, 0);
  const number = parseDecimal(numberText, 0);
  if (ends === undefined || number === undefined) return undefined;
  return { ends, serials, statement, number, der: Buffer.from(body, 'base64') };
}
