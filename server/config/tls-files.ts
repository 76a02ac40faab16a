/**
 * The TLS files of a connection to another system: trusted CAs, and a client certificate with its key. They are checked before each use
 * and read again when one has changed, so that they can be replaced while the server runs.
 */

import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { TargetUntrusted, type TlsFiles, type TlsMaterial } from '../../telemetry/index.ts';
import { invalidFile, readPrivateFile } from './private-files.ts';

interface TlsFileNames {
  readonly caFile?: string | undefined;
  readonly certificateFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

interface LoadedTlsFiles {
  readonly material: TlsMaterial;
  /** The expiry of the client certificate, milliseconds since the epoch. */
  readonly expiresAt: number;
  readonly fingerprint: string;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/**
 * `what` has the files, as messages name it: `sink NAME`. Throws Problem `config_invalid` or `private_key_exposed` when the files cannot be used. The returned function throws the
 * same, and `TargetUntrusted` when the client certificate has expired.
 */
export function loadTlsFiles(what: string, names: TlsFileNames, now: () => number): TlsFiles {
  let found: LoadedTlsFiles | undefined;
  const load = (): LoadedTlsFiles => {
    const fingerprint = [names.caFile, names.certificateFile, names.keyFile].map(fingerprintOf).join();
    if (found?.fingerprint === fingerprint) return found;
    found = undefined; // files that cannot be read now are not replaced by their former content
    found = { ...read(what, names), fingerprint };
    return found;
  };
  load();
  return () => {
    const { material, expiresAt } = load();
    if (expiresAt > now()) return material;
    const expiry = new Date(expiresAt).toISOString();
    throw new TargetUntrusted(
      `expected a certificate that is valid now in certificateFile, found one that ended ${expiry}`,
    );
  };
}

/** For a target without TLS: configured TLS files would suggest a protection that does not exist. */
export function expectNoTlsFiles(
  what: string,
  { caFile, certificateFile, keyFile }: TlsFileNames,
  expected: string,
): 'none' {
  if ((caFile ?? certificateFile ?? keyFile) === undefined) return 'none';
  throw invalidFile(`${what}: expected ${expected} with caFile, certificateFile or keyFile`);
}

function read(what: string, { caFile, certificateFile, keyFile }: TlsFileNames): Omit<LoadedTlsFiles, 'fingerprint'> {
  if ((certificateFile === undefined) !== (keyFile === undefined)) {
    throw invalidFile(`${what}: expected certificateFile and keyFile, found one of them`);
  }
  const ca = caFile === undefined ? undefined : readCertificates(`${what}: caFile`, caFile);
  const own = certificateFile === undefined ? undefined : readCertificates(`${what}: certificateFile`, certificateFile);
  const key = keyFile === undefined ? undefined : readPrivateFile(`${what}: keyFile`, resolve(keyFile));
  const material = {
    ...(ca !== undefined && { ca: ca.text }),
    ...(own !== undefined && { cert: own.text }),
    ...(key !== undefined && { key }),
  };
  try {
    createSecureContext(material);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw invalidFile(`${what}: expected in keyFile the key of the certificate in certificateFile (${code})`);
  }
  return { material, expiresAt: own?.leaf.validToDate.getTime() ?? Number.POSITIVE_INFINITY };
}

/** Problem `config_invalid` for a file without certificates. */
export function readCertificates(
  what: string,
  file: string,
): { readonly text: string; readonly leaf: X509Certificate } {
  let text: string;
  try {
    text = readFileSync(resolve(file), 'utf8');
  } catch (error) {
    throw invalidFile(`${what}: ${file} could not be read: ${(error as NodeJS.ErrnoException).code}`);
  }
  try {
    // OpenSSL skips certificates that it cannot parse, and would trust fewer CAs than the file names.
    const [leaf] = (text.match(CERTIFICATE) ?? []).map((pem) => new X509Certificate(pem));
    if (leaf !== undefined) return { text, leaf };
  } catch {}
  throw invalidFile(`${what}: expected certificates in PEM in ${file}`);
}

/** Changes with the content of the file, and when another file replaces it. */
export function fingerprintOf(file: string | undefined): string {
  const found = file === undefined ? undefined : statSync(resolve(file), { throwIfNoEntry: false, bigint: true });
  return found === undefined ? '' : [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(':');
}
