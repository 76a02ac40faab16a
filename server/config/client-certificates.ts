/** The files of CAs and CRLs for certificates of operators. They are read again when one has changed. */

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { Problem } from '@rollcall/protocol';
import type { ClientCertificateOptions } from '../../console/index.ts';
import { fingerprintOf, readCertificates } from './tls-files.ts';

const CRL = /-----BEGIN X509 CRL-----[\s\S]+?-----END X509 CRL-----/g;

interface ClientCertificateConfig {
  readonly caFile: string;
  readonly crlFile: string;
  readonly name: ClientCertificateOptions['name'];
}

/** Undefined without `caFile`. Problem `config_invalid` for files that cannot be used, then and later. */
export function clientCertificateSettings(config: ClientCertificateConfig): ClientCertificateOptions | undefined {
  const { caFile, crlFile, name } = config;
  if (caFile === '' && crlFile === '') return undefined;
  if (caFile === '') throw invalid('console.clientCertificates: expected caFile with crlFile');
  let found: { readonly trust: ReturnType<typeof read>; readonly fingerprint: string } | undefined;
  const readChanged = () => {
    const fingerprint = [caFile, crlFile].map((file) => fingerprintOf(file === '' ? undefined : file)).join();
    if (found?.fingerprint !== fingerprint) found = { trust: read(config), fingerprint };
    return found.trust;
  };
  readChanged();
  return { name, read: readChanged };
}

function read({ caFile, crlFile }: ClientCertificateConfig): { readonly ca: string; readonly crl?: string[] } {
  const trust = { ca: caIn(caFile), ...(crlFile !== '' && { crl: crlsIn(crlFile) }) };
  try {
    createSecureContext(trust);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw invalid(`console.clientCertificates.crlFile: expected CRLs in PEM in ${crlFile} (${code})`);
  }
  return trust;
}

function caIn(file: string): string {
  try {
    return readCertificates('console.clientCertificates.caFile', file).text;
  } catch (error) {
    throw error instanceof Problem ? invalid(error.reason ?? error.message) : error;
  }
}

function crlsIn(file: string): string[] {
  let text: string;
  try {
    text = readFileSync(resolve(file), 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw invalid(`console.clientCertificates.crlFile: ${file} could not be read: ${code}`);
  }
  const crls = text.match(CRL);
  if (crls !== null) return crls;
  throw invalid(`console.clientCertificates.crlFile: expected CRLs in PEM in ${file}`);
}

function invalid(reason: string): Problem {
  return new Problem('config_invalid', { reason, hint: 'docs/operators.md explains console.clientCertificates' });
}
