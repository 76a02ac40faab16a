/**
 * What other parties trust: roots, issuing CAs, cross-certificates and the CRLs of roots, in the forms that devices, TLS
 * listeners and bootstrap tokens need. Computed once per change of the CAs.
 */

import { createHash } from 'node:crypto';
import type { Logger } from 'pino';
import { pem } from '../x509/pem.ts';
import { type CaSet, certificatesInPem, derivedFrom } from './ca-set.ts';
import { ChangeListeners } from './change-listeners.ts';

export interface TrustBundle {
  /** SHA-256 of the DER of the root above the active issuing CA, lower-case hexadecimal; the pin in new bootstrap tokens. */
  readonly rootSha256: string;
  readonly rootPem: string;
  /** Whether a bootstrap token may pin this root: any root of the trust bundle. */
  trustsRoot(sha256: string): boolean;
  /** The certificates between a new leaf and the roots of devices: the active issuing CA first, PEM. */
  readonly chainPem: string;
  /** The same for a leaf of another issuing CA that is not retired. */
  chainOf(issuerId: string | undefined): string;
  /** DER of every CA that is not retired: the active root first, the active issuing CA last. The same array until it changes. */
  readonly certificates: readonly Buffer[];
  /** {@link certificates} as PEM. */
  readonly pem: string;
  /** What devices receive: {@link pem} and the CRLs of the roots. */
  readonly devicePem: string;
  /** Every issuing CA that is not retired, PEM. */
  readonly issuersPem: string;
  /** Called when the bundle or the active issuing CA has changed. Returns the function that unsubscribes. */
  onChange(listener: () => void | Promise<void>): () => void;
}

export interface OwnTrustBundle extends TrustBundle {
  /** Calls the listeners; resolves when all have finished. */
  notify(): Promise<void>;
}

export function createTrustBundle(options: {
  readonly cas: () => CaSet;
  readonly rootCrlsPem: () => string;
  readonly log: Logger;
}): OwnTrustBundle {
  const listeners = new ChangeListeners(options.log, 'new trust bundle could not be applied');
  const bundle = derivedFrom(options.cas, (cas) => {
    const certificates = bundleOf(cas);
    return {
      certificates,
      pem: pemOf(certificates),
      rootSha256: sha256(cas.root.der),
      rootPem: pem(cas.root.der),
      rootSha256s: new Set(cas.roots.map(({ der }) => sha256(der))),
      chainPem: pemOf([cas.active.der, ...cas.crossCertificates]),
      chains: new Map(
        cas.issuing.map(({ id, der, record }) => [id, pemOf([der, ...certificatesInPem(record.chain)])] as const),
      ),
      issuersPem: pemOf(cas.issuing.map(({ der }) => der)),
    };
  });
  return {
    get rootSha256() {
      return bundle().rootSha256;
    },
    get rootPem() {
      return bundle().rootPem;
    },
    trustsRoot: (pin) => bundle().rootSha256s.has(pin),
    get chainPem() {
      return bundle().chainPem;
    },
    chainOf: (issuerId = '') => bundle().chains.get(issuerId) ?? bundle().chainPem,
    get certificates() {
      return bundle().certificates;
    },
    get pem() {
      return bundle().pem;
    },
    get devicePem() {
      return bundle().pem + options.rootCrlsPem();
    },
    get issuersPem() {
      return bundle().issuersPem;
    },
    onChange: (listener) => listeners.add(listener),
    notify: () => listeners.notify(),
  };
}

function bundleOf({ roots, issuing, active, allCrossCertificates }: CaSet): readonly Buffer[] {
  const older = issuing.slice(1).map(({ der }) => der);
  return [...roots.map(({ der }) => der), ...allCrossCertificates, ...older.reverse(), active.der];
}

function pemOf(certificates: readonly Buffer[]): string {
  return certificates.map((der) => pem(der)).join('');
}

function sha256(der: Buffer): string {
  return createHash('sha256').update(der).digest('hex');
}
