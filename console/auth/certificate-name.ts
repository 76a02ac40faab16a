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
    return typeof name === 'string' ? operatorNameOf(name) : undefined;
  },
  email: (certificate) => {
    const address = onlyName(certificate, 'email:');
    // OpenSSL reads the extension too.
    if (address === undefined || certificate.checkEmail(address, { subject: 'never' }) === undefined) return undefined;
    return operatorNameOf(address);
  },
  uri: (certificate) => {
    const last = onlyName(certificate, 'URI:')?.replace(/^.*\//, '');
    return last === undefined || last === '' ? undefined : operatorNameOf(last);
  },
};

/** In lower case, with `-` for each character that names of operators do not have: `Ada@example.com` is `ada-example.com`. */
export function operatorNameOf(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9._-]/g, '-')
    .slice(0, 64);
}

function onlyName({ subjectAltName = '' }: X509Certificate, prefix: string): string | undefined {
  if (subjectAltName.includes('"')) return undefined;
  const names = subjectAltName.split(', ').filter((name) => name.startsWith(prefix));
  return names.length === 1 ? names[0]?.slice(prefix.length) : undefined;
}
