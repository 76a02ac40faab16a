/**
 * A small certificate authority made with the `openssl` program in a temporary directory, for tests of the device's
 * side: it shares no code with the server that devices will really meet.
 */

import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { missingClients } from './client-programs.ts';

export interface ServerCredential {
  readonly keyPem: string;
  /** The chain without the root. */
  readonly certificatePem: string;
}

export interface ScriptedAuthority {
  readonly rootPem: string;
  /** SHA-256 of the root's DER, lower-case hexadecimal: what a token pins. */
  readonly rootSha256: string;
  readonly issuingPem: string;
  /** For `localhost`, `127.0.0.1` and `::1`. */
  readonly server: ServerCredential;
  /** For other names, as openssl writes them: `DNS:broker.example`. */
  serverFor(names: string): ServerCredential;
  /** Verifies the request's signature, takes its key, and writes the name itself. */
  issue(csr: Buffer, deviceId: string): string;
  /** The request's public key as PEM, as openssl reads it. */
  publicKeyOf(csr: Buffer): string;
  /** What `openssl req -verify` thinks of a request: its subject and extensions as text. Throws if it is not valid. */
  describeRequest(csr: Buffer): string;
  /** certs-only PKCS#7, DER. */
  certsOnly(...certificatesPem: readonly string[]): Buffer;
  dispose(): void;
}

/** Without openssl it issues nothing: the tests that have one are skipped then (`testsWithClients`). */
export function makeScriptedAuthority(): ScriptedAuthority {
  const missing = missingClients(['openssl']);
  if (missing !== undefined) return noAuthority(missing);
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-authority-'));
  const at = (name: string) => join(directory, name);
  const openssl = (args: readonly string[], input?: Buffer) =>
    execFileSync('openssl', args, { cwd: directory, input, stdio: ['pipe', 'pipe', 'pipe'] });
  const newKey = (name: string) =>
    openssl(['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', at(name)]);
  const sign = (request: Buffer, issuer: string, extensions: string, ...subject: string[]) => {
    writeFileSync(at('extensions.cnf'), extensions);
    const args = ['x509', '-req', '-days', '30', '-CA', `${issuer}.pem`, '-CAkey', `${issuer}.key`];
    return openssl([...args, '-CAcreateserial', '-extfile', 'extensions.cnf', ...subject], request).toString();
  };
  const requestFor = (key: string, subject: string) => openssl(['req', '-new', '-key', key, '-subj', subject]);

  newKey('root.key');
  openssl([
    ...['req', '-x509', '-key', 'root.key', '-subj', '/CN=scripted root', '-days', '30', '-out', 'root.pem'],
    ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
  ]);
  newKey('issuing.key');
  const issuing = sign(
    requestFor('issuing.key', '/CN=scripted issuing'),
    'root',
    'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n',
  );
  writeFileSync(at('issuing.pem'), issuing);
  newKey('server.key');
  const serverFor = (names: string): ServerCredential => {
    const extensions = `subjectAltName=${names}\nextendedKeyUsage=serverAuth\n`;
    const certificate = sign(requestFor('server.key', '/CN=scripted server'), 'issuing', extensions);
    return { keyPem: readFileSync(at('server.key'), 'utf8'), certificatePem: certificate + issuing };
  };
  const rootPem = readFileSync(at('root.pem'), 'utf8');

  return {
    rootPem,
    rootSha256: createHash('sha256').update(new X509Certificate(rootPem).raw).digest('hex'),
    issuingPem: issuing,
    server: serverFor('DNS:localhost,IP:127.0.0.1,IP:::1'),
    serverFor,
    issue: (csr, deviceId) =>
      sign(
        openssl(['req', '-inform', 'DER'], csr),
        'issuing',
        `subjectAltName=URI:spiffe://scripted/device/${deviceId}\nextendedKeyUsage=clientAuth\n`,
        '-subj',
        `/CN=${deviceId}`,
      ),
    publicKeyOf: (csr) => openssl(['req', '-inform', 'DER', '-pubkey', '-noout'], csr).toString(),
    describeRequest: (csr) => openssl(['req', '-inform', 'DER', '-verify', '-noout', '-text'], csr).toString(),
    certsOnly: (...certificates) => {
      writeFileSync(at('certificates.pem'), certificates.join(''));
      return openssl(['crl2pkcs7', '-nocrl', '-certfile', 'certificates.pem', '-outform', 'DER']);
    },
    dispose: () => rmSync(directory, { recursive: true, force: true }),
  };
}

function noAuthority(missing: string): ScriptedAuthority {
  const fail = () => {
    throw new Error(missing);
  };
  return {
    rootPem: '',
    rootSha256: '',
    issuingPem: '',
    server: { keyPem: '', certificatePem: '' },
    serverFor: fail,
    issue: fail,
    publicKeyOf: fail,
    describeRequest: fail,
    certsOnly: () => Buffer.alloc(0),
    dispose: () => {},
  };
}
