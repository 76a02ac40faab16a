/** Issues certificates to nodes of the fleet: their own, by which they prove who they are, and those of their listeners. */

import { type NodeCertificateRequest, Problem } from '@rollcall/protocol';
import type { IssuedCertificate, JoinedNode } from '../../registry/index.ts';
import type { ClientCertificateIssuer, LeafCertificates } from '../ca/leaf-certificates.ts';
import type { TrustBundle } from '../ca/trust-bundle.ts';
import { type CheckedCsr, checkCsr } from '../est/csr.ts';
import { decodeBase64 } from '../est/request-body.ts';
import { keyNotAllowed } from '../x509/key-policy.ts';
import { pem } from '../x509/pem.ts';

export interface NodeCertificatesOptions {
  readonly issuer: Pick<ClientCertificateIssuer, 'ownsKey'>;
  readonly leaves: Pick<LeafCertificates, 'issueNodeCertificate' | 'issueServerCertificateFor'>;
  readonly trust: Pick<TrustBundle, 'chainPem' | 'pem'>;
}

export interface NodeCertificates {
  /** Not recorded yet. Throws Problem `csr_...`. */
  issue(node: string, csr: string): Promise<IssuedCertificate>;
  /** Recorded. Throws Problem `csr_...`. */
  renew(node: JoinedNode, request: NodeCertificateRequest): Promise<IssuedCertificate>;
  /** Chain of a certificate, leaf first, and the trust bundle, PEM. */
  answer(certificate: IssuedCertificate): { readonly certificatePem: string; readonly caPem: string };
}

export function createNodeCertificates({ issuer, leaves, trust }: NodeCertificatesOptions): NodeCertificates {
  const checked = (text: string): CheckedCsr => {
    const der = decodeBase64(text);
    if (der === undefined) throw new Problem('csr_malformed', { reason: 'expected base64 of a PKCS#10 request' });
    const verdict = checkCsr(der);
    if (!verdict.ok) throw new Problem(verdict.code, { reason: verdict.reason });
    const { csr } = verdict;
    if (issuer.ownsKey(csr.publicKeySha256)) throw new Problem('csr_key_reused', { reason: 'found the key of a CA' });
    const unfit = keyNotAllowed(csr.keyAlgorithm, undefined);
    if (unfit !== undefined) throw new Problem('csr_key_not_allowed', { reason: unfit });
    return csr;
  };
  return {
    issue: (node, csr) => leaves.issueNodeCertificate(node, checked(csr).publicKeySpki, { isRecorded: false }),
    // Names in the request have no effect: the node gets its own.
    renew: async ({ name, hosts }, { purpose, csr }) => {
      const key = checked(csr).publicKeySpki;
      return purpose === 'node'
        ? leaves.issueNodeCertificate(name, key, { isRecorded: true })
        : leaves.issueServerCertificateFor(`${name}/${purpose}`, hosts, key);
    },
    answer: ({ der }) => ({ certificatePem: pem(der) + trust.chainPem, caPem: trust.pem }),
  };
}
