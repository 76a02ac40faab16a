/** Writes the PKCS#10 request (RFC 2986) of an issuing CA for an external root. It requests the extensions that a root of this fleet would set. */

import { encodeDer, encoded, integer, oid, sequence, set, tagged } from '../x509/der-writer.ts';
import { keyIdentifier, trustDomainUri } from '../x509/profile.ts';
import {
  alternativeNames,
  caBasicConstraints,
  commonName,
  keyUsage,
  OID,
  signed,
  subjectKeyIdentifier,
} from '../x509/x509-writer.ts';
import type { Signer } from './signer.ts';

/** PEM. */
export async function writeIssuingCaCsr(signer: Signer, trustDomain: string): Promise<string> {
  const keyId = keyIdentifier(signer.publicKeySpki);
  const extensions = sequence(
    caBasicConstraints(0),
    keyUsage(['keyCertSign', 'cRLSign']),
    subjectKeyIdentifier(keyId),
    alternativeNames([{ kind: 'uri', value: trustDomainUri(trustDomain) }]),
  );
  const info = sequence(
    integer(0),
    commonName(`Rollcall issuing CA ${keyId.toString('hex', 0, 4)}`),
    encoded(signer.publicKeySpki),
    tagged(0, sequence(oid(OID.extensionRequest), set(extensions))),
  );
  const lines = (await signed(encodeDer(info), signer)).toString('base64').replace(/.{1,64}/g, '$&\n');
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines}-----END CERTIFICATE REQUEST-----\n`;
}
