/** A CA certificate in the form that the registry records. */

import type { NewIssuer } from '../../registry/index.ts';
import { readIssuer } from '../x509/certificate-check.ts';
import { pem } from '../x509/pem.ts';
import type { CaRole } from './ca-directory.ts';
import { caId } from './ca-set.ts';

/** `chain`: DER of the certificates between this CA and the roots, the cross-certificates included. */
export function newIssuer(role: CaRole, der: Buffer, rootId: string | undefined, chain: readonly Buffer[]): NewIssuer {
  const { publicKeySpki, notBefore, notAfter } = readIssuer(der);
  return {
    id: caId(publicKeySpki),
    role,
    rootId,
    der,
    chain: chain.map((each) => pem(each)).join(''),
    notBefore,
    notAfter,
  };
}
