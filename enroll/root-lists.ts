/**
 * Revocation lists of roots: which issuing CAs count no more. Signed while the root's key is here, kept in files, and long
 * enough that a key which was taken away isn't fetched back for them.
 */

import type { Logger } from 'pino';
import { parseDecimal } from '../contract/decimal.ts';
import type { Registry } from '../registry/registry.ts';
import type { CaDirectory, CaName } from './ca-directory.ts';
import { type CaSet, caId, type KnownCa } from './ca-set.ts';
import { certificateSerial, readIssuer } from './certificate-check.ts';
import { type CrlEntry, writeCrl, writeCrlEntries } from './crl-writer.ts';
import { pem } from './pem.ts';
import type { Signer } from './signer.ts';

export interface RootLists {
  /** Makes those anew that are due or say too little, where the key is here. Never fails: it logs. */
  refresh(): Promise<void>;
  /** DER. */
  all(): readonly Buffer[];
  find(id: string): Buffer | undefined;
  /** Milliseconds since the epoch. */
  ends(id: string): number | undefined;
}

const YEAR_MS = 365 * 24 * 3600 * 1000;
const WARN_BEFORE_END_MS = 60 * 24 * 3600 * 1000;

/** First line of its file: what is in the list, so that it needs no parser of its own. */
interface Held {
  readonly ends: number;
  readonly serials: string;
  readonly der: Buffer;
}

export function createRootLists(options: {
  readonly current: () => CaSet;
  readonly rootSigner: (id: string) => Promise<Signer | undefined>;
  readonly directory: CaDirectory;
  readonly registry: Pick<Registry, 'nextCrlNumber'>;
  readonly backdateSeconds: number;
  readonly now: () => number;
  readonly log: Logger;
}): RootLists {
  const { current, directory, now, log } = options;
  const held = new Map<string, Held>();

  const nameOf = async (id: string): Promise<CaName | undefined> => {
    for (const name of await directory.names('pem')) {
      if (!name.startsWith('root')) continue;
      const der = await directory.readCertificate(name);
      if (der !== undefined && caIdOf(der) === id) return name;
    }
    return undefined;
  };

  const refreshOne = async (root: KnownCa): Promise<void> => {
    const name = (await nameOf(root.id)) ?? (`root-${root.id.slice(0, 8)}` as const);
    const known = held.get(root.id) ?? readHeld(await directory.readText(name, 'crl'));
    if (known !== undefined) held.set(root.id, known);
    const gone = current().records.filter((found) => found.rootId === root.id && found.state === 'retired');
    const entries = gone.map(
      (record): CrlEntry => ({
        serial: certificateSerial(Buffer.from(record.der)),
        revokedAt: record.retiredAt ?? now(),
        reason: 'superseded',
      }),
    );
    const serials = entries.map(({ serial }) => serial).join(' ');
    const isDue = known === undefined || known.ends - now() < YEAR_MS / 2 || known.serials !== serials;
    if (!isDue) return;
    const signer = await options.rootSigner(root.id);
    if (signer === undefined) {
      if (known !== undefined && known.ends - now() < WARN_BEFORE_END_MS) {
        log.warn(
          { ca: root.id, ends: new Date(known.ends).toISOString() },
          'the revocation list of the root ends soon; its key is not here',
        );
      }
      return;
    }
    const at = now();
    const ends = Math.min(at + YEAR_MS, root.notAfter);
    const der = await writeCrl(
      {
        issuer: root.subject,
        keyIdentifier: root.keyIdentifier,
        number: await options.registry.nextCrlNumber(),
        thisUpdate: Math.max(at - options.backdateSeconds * 1000, root.notBefore),
        nextUpdate: ends,
        lists: 'authorities',
      },
      writeCrlEntries(entries),
      signer,
    );
    await directory.replaceText(name, 'crl', `# ends=${ends} serials=${serials}\n${pem(der, 'X509 CRL')}`);
    held.set(root.id, { ends, serials, der });
    log.info({ ca: root.id, entries: entries.length }, 'revocation list of the root made');
  };

  return {
    refresh: async () => {
      for (const root of current().roots) {
        await refreshOne(root).catch((error: unknown) => {
          log.error({ err: error, ca: root.id }, 'revocation list of the root could not be made');
        });
      }
    },
    all: () =>
      current()
        .roots.map(({ id }) => held.get(id)?.der)
        .filter((der) => der !== undefined),
    find: (id) => (current().roots.some((root) => root.id === id) ? held.get(id)?.der : undefined),
    ends: (id) => held.get(id)?.ends,
  };

  function caIdOf(der: Buffer): string {
    return caId(readIssuer(der).publicKeySpki);
  }
}

function readHeld(text: string | undefined): Held | undefined {
  const parts = /^# ends=(\d+) serials=([0-9a-f ]*)\n-----BEGIN X509 CRL-----\n([^-]+)-----END/.exec(text ?? '');
  const ends = parseDecimal(parts?.[1], 0);
  if (parts === null || ends === undefined) return undefined;
  return { ends, serials: parts[2] as string, der: Buffer.from(parts[3] as string, 'base64') };
}
