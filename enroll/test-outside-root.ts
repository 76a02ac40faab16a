/** A root that somebody else keeps: openssl on the command line, as an offline CA would use it. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { consult } from './oracles.ts';

export interface OutsideRoot {
  /** PEM. */
  readonly certificate: string;
  readonly key: string;
  sign(
    csr: string,
    how?: {
      readonly days?: number;
      readonly ca?: boolean;
      readonly usage?: string;
      readonly pathlen?: number | 'none';
    },
  ): string;
  /** The request of a key that isn't ours. */
  strangerCsr(): string;
  /** What `openssl verify` says of a leaf. */
  verify(leaf: string, chain: string, root: string): string;
}

let count = 0;

export function outsideRoot(directory: string, { pathlen = 1 }: { readonly pathlen?: number } = {}): OutsideRoot {
  count += 1;
  const file = (name: string) => join(directory, name);
  const openssl = (...args: string[]): string => {
    const { status, text } = consult('openssl', args);
    if (status !== 0) throw new Error(`openssl ${args[0]}: ${text}`);
    return text;
  };
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-nodes', '-subj'];
  openssl(
    ...['req', '-x509', ...newKey, `/CN=Outside Root ${count}`, '-keyout', file('root.key'), '-out', file('root.pem')],
    ...['-days', '3650', '-addext', `basicConstraints=critical,CA:TRUE,pathlen:${pathlen}`],
    ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
  );
  return {
    certificate: readFileSync(file('root.pem'), 'utf8'),
    key: readFileSync(file('root.key'), 'utf8'),
    sign: (csr, { days = 365, ca = true, usage = 'keyCertSign,cRLSign', pathlen: below = 0 } = {}) => {
      writeFileSync(file('request.pem'), csr);
      const lines = [
        `basicConstraints=critical,CA:${ca ? `TRUE${below === 'none' ? '' : `,pathlen:${below}`}` : 'FALSE'}`,
        `keyUsage=critical,${usage}`,
      ];
      writeFileSync(
        file('extensions'),
        `${[...lines, 'subjectKeyIdentifier=hash', 'authorityKeyIdentifier=keyid'].join('\n')}\n`,
      );
      const by = [
        '-CA',
        file('root.pem'),
        '-CAkey',
        file('root.key'),
        '-CAcreateserial',
        '-extfile',
        file('extensions'),
      ];
      openssl('x509', '-req', '-in', file('request.pem'), '-out', file('issuing.pem'), '-days', String(days), ...by);
      return readFileSync(file('issuing.pem'), 'utf8');
    },
    strangerCsr: () => {
      openssl('req', '-new', ...newKey, '/CN=Stranger', '-keyout', file('stranger.key'), '-out', file('stranger.pem'));
      return readFileSync(file('stranger.pem'), 'utf8');
    },
    verify: (leaf, chain, root) => {
      writeFileSync(file('leaf.pem'), leaf);
      writeFileSync(file('chain.pem'), chain);
      writeFileSync(file('trusted.pem'), root);
      const args = [
        'verify',
        '-x509_strict',
        '-CAfile',
        file('trusted.pem'),
        '-untrusted',
        file('chain.pem'),
        file('leaf.pem'),
      ];
      return consult('openssl', args).text;
    },
  };
}
