/**
 * The name of an operator in a client certificate. Names are taken only where Node's text of them is unambiguous: it quotes values that
 * contain separators (CVE-2021-44532), and such certificates name nobody.
 */

import type { X509Certificate } from 'node:crypto';

export type CertificateName = 'cn' | 'email' | 'uri';

/** Undefined unless the certificate has exactly one. */
export const CERTIFICATE_NAMES: Readonly<
  Record<CertificateName, (certificate: X509Certificate) => string | undefined>
> = {
  cn: (certificate) => {
    const { CN: name } = certificate.toLegacyObject().subject as { readonly CN?: string | readonly string[] };
    return typeof name === 'string' ? exactName(name) : undefined;
  },
  email: (certificate) => {
    const address = onlyName(certificate, 'email:');
    // OpenSSL reads the extension too.
    if (address === undefined || certificate.checkEmail(address, { subject: 'never' }) === undefined) return undefined;
    return exactName(address.replace('@', '-'));
  },
  uri: (certificate) => {
    const last = onlyName(certificate, 'URI:')?.replace(/^.*\//, '');
    return last === undefined ? undefined : exactName(last);
  },
};

/** In lower case. Undefined for a text that no operator can have as its name: another certificate could have one that differs only there. */
function exactName(text: string): string | undefined {
  const name = text.toLowerCase();
  return /^[a-z0-9][a-z0-9._-]{0,63}$/.test(name) ? name : undefined;
}

function onlyName({ subjectAltName = '' }: X509Certificate, prefix: string): string | undefined {
  if (subjectAltName.includes('"')) return undefined;
  const names = subjectAltName.split(', ').filter((name) => name.startsWith(prefix));
  return names.length === 1 ? names[0]?.slice(prefix.length) : undefined;
}
