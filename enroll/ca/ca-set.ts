/**
 * The CAs that are not retired, read from the registry and the key store: which one signs, whose certificates are
 * accepted, which certificates connect them. A snapshot; each step of a rotation creates a new one.
 */

import { X509Certificate } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { IssuerRecord } from '../../registry/index.ts';
import { readIssuer } from '../x509/certificate-check.ts';
import { keyIdentifier } from '../x509/profile.ts';
import type { CaCertificate } from './ca-certificates.ts';
import type { Signer } from './signer.ts';

export interface KnownCa extends CaCertificate {
  /** 40 digits of hexadecimal. */
  readonly id: string;
  readonly record: IssuerRecord;
}

export interface IssuingCa extends KnownCa {
  /** Undefined when its key is not on this machine: then it signs neither CRLs nor OCSP responses. */
  readonly signer: Signer | undefined;
}

export interface SigningCa extends IssuingCa {
  readonly signer: Signer;
}

export interface CaSet {
  /** The roots that are not retired, the one above the active issuing CA first. */
  readonly roots: readonly KnownCa[];
  /** The issuing CAs that are not retired, the active one first. */
  readonly issuing: readonly IssuingCa[];
  readonly active: SigningCa;
  /** Signs the certificates of this server's listeners: the active one, or the one before while the key of that is on other nodes alone. */
  readonly forServers: SigningCa;
  /** The root above the active issuing CA. */
  readonly root: KnownCa;
  /** DER of the certificates from the active issuing CA to roots other than its own. */
  readonly crossCertificates: readonly Buffer[];
  /** The same, and those of roots that do not sign yet: a device trusts a new root because a known root cross-certifies it. */
  readonly allCrossCertificates: readonly Buffer[];
  /** Whether the key of the active issuing CA is on this machine; otherwise nothing can be signed here. */
  readonly isKeyHere: boolean;
  /** Every CA, the retired ones included. */
  readonly records: readonly IssuerRecord[];
}

/**
 * Throws Problem `authority_unusable` when the active issuing CA, its root or its key is missing, or has ended. `mayLackKey`: its key may be
 * on other nodes alone; `besideAnother`: if that of the CA before is here.
 */
export function readCaSet(
  records: readonly IssuerRecord[],
  signers: ReadonlyMap<string, Signer>,
  options: { readonly directory: string; readonly now: number; readonly mayLackKey?: boolean | 'besideAnother' },
): CaSet {
  const known = records.filter(({ state }) => state !== 'retired').map(readKnown);
  const issuing = known
    .filter(({ record }) => record.role === 'issuing')
    .map((ca): IssuingCa => ({ ...ca, signer: signers.get(ca.id) }));
  const active = issuing.find(({ record }) => record.state === 'active');
  if (active === undefined) throw unusable('expected an active issuing CA, found none');
  const root = known.find(({ id }) => id === active.record.rootId);
  if (root === undefined) throw unusable(`expected the root above issuing CA ${active.id}, found none`);
  for (const [what, ca] of [
    ['root', root],
    ['issuing CA', active],
  ] as const) {
    if (options.now >= ca.notAfter) throw unusable(`${what} ${ca.id} expired ${new Date(ca.notAfter).toISOString()}`);
  }
  const before = issuing
    .filter((ca): ca is SigningCa => ca.signer !== undefined && ca.record.state === 'outgoing')
    .toSorted((one, other) => (other.record.activatedAt ?? 0) - (one.record.activatedAt ?? 0))[0];
  const { mayLackKey = false } = options;
  const isRefusing = mayLackKey === true || (mayLackKey === 'besideAnother' && before !== undefined);
  const signer = active.signer ?? (isRefusing ? refusingSigner(active.publicKeySpki) : undefined);
  if (signer === undefined) {
    throw new Problem('authority_unusable', {
      reason: `expected the key of issuing CA ${active.id} in ${options.directory}, found none`,
      hint:
        mayLackKey === 'besideAnother'
          ? 'join the fleet again, or copy issuing-* from ca/ of a node that has it (docs/grow-beyond-one-machine.md#keys-of-the-ca)'
          : 'restore registry.db and ca/ from the same backup',
    });
  }
  const first = <Ca extends KnownCa>(all: readonly Ca[], id: string) => [
    ...all.filter((ca) => ca.id === id),
    ...all.filter((ca) => ca.id !== id),
  ];
  const roots = known.filter(({ record }) => record.role === 'root');
  const crossCertificates = certificatesInPem(active.record.chain);
  const allCrossCertificates = [
    ...crossCertificates,
    ...roots.flatMap(({ record }) => certificatesInPem(record.chain)),
  ];
  return {
    roots: first(roots, root.id),
    issuing: first(issuing, active.id),
    active: { ...active, signer },
    forServers: active.signer === undefined && before !== undefined ? before : { ...active, signer },
    root,
    crossCertificates,
    allCrossCertificates: allCrossCertificates.filter(
      (der, at) => allCrossCertificates.findIndex((other) => other.equals(der)) === at,
    ),
    isKeyHere: active.signer !== undefined,
    records,
  };
}

/** Of a CA whose key is on other nodes alone. */
function refusingSigner(publicKeySpki: Buffer): Signer {
  return {
    publicKeySpki,
    sign: async () => {
      throw new Problem('unavailable', {
        detail: 'this node has no keys of the CA that signs: ask a node with the role enroll that has them',
      });
    },
  };
}

/** A function of the CAs that is computed again only when they have changed. */
export function derivedFrom<Value>(cas: () => CaSet, compute: (cas: CaSet) => Value): () => Value {
  let last: { readonly of: CaSet; readonly value: Value } | undefined;
  return () => {
    const of = cas();
    if (last?.of !== of) last = { of, value: compute(of) };
    return last.value;
  };
}

/** DER of every certificate in a PEM text. */
export function certificatesInPem(text: string): readonly Buffer[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block).raw);
}

/** How the registry names a CA. */
export function caId(publicKeySpki: Uint8Array): string {
  return keyIdentifier(publicKeySpki).toString('hex');
}

function readKnown(record: IssuerRecord): KnownCa {
  const der = Buffer.from(record.der);
  return { id: record.id, record, der, ...readIssuer(der) };
}

function unusable(reason: string): Problem {
  return new Problem('authority_unusable', { reason, hint: 'restore registry.db and ca/ from the same backup' });
}
