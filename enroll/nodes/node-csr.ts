/** Writes the PKCS#10 request (RFC 2986) of a node. Names and extensions come from the CA, so it requests none. */

import type { KeyObject } from 'node:crypto';
import { keySigner } from '../ca/signer.ts';
import { encodeDer, encoded, integer, sequence, tagged } from '../x509/der-writer.ts';
import { commonName, signed } from '../x509/x509-writer.ts';

/** Base64 of DER. */
export async function writeNodeCsr(privateKey: KeyObject, name: string): Promise<string> {
  const signer = keySigner(privateKey);
  const info = sequence(integer(0), commonName(name), encoded(signer.publicKeySpki), tagged(0));
  return (await signed(encodeDer(info), signer)).toString('base64');
}
