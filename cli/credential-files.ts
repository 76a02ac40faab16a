/**
 * Credentials in a directory: `key.pem` (0600), `cert.pem` (chain, leaf first), `ca.pem`, and `service.json` of a service. The key is generated here and is on
 * disk before its request is sent, so that the request can be repeated with the same key when the response is lost.
 */

import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { writeCsr } from '@rollcall/device-sdk/building-blocks';
import { Problem } from '@rollcall/protocol';
import { SERVICE_FILE } from '@rollcall/service-sdk/credentials';

export interface PreparedCredentials {
  /** PKCS#10 request with the name as common name. */
  readonly csrPem: string;
  /** Writes the certificate beside its key and returns the paths. */
  complete(issued: IssuedCredentials): CredentialPaths;
}

export interface IssuedCredentials {
  readonly certificatePem: string;
  readonly caPem: string;
  /** Text of `service.json`. */
  readonly serviceFile?: string;
}

export interface CredentialPaths {
  readonly key: string;
  readonly certificate: string;
  readonly ca: string;
}

export function prepareCredentials(directory: string, name: string): PreparedCredentials {
  const paths: CredentialPaths = {
    key: resolve(join(directory, 'key.pem')),
    certificate: resolve(join(directory, 'cert.pem')),
    ca: resolve(join(directory, 'ca.pem')),
  };
  if (existsSync(paths.certificate)) {
    throw new Problem('usage', {
      reason: `expected a directory without credentials, found ${paths.certificate}`,
      hint: `"rollcall service renew ${directory}" replaces a certificate`,
    });
  }
  const key = withWriteErrors(paths.key, () => {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return existsSync(paths.key) ? readKey(paths.key) : makeKey(paths.key);
  });
  return {
    csrPem: pem('CERTIFICATE REQUEST', writeCsr(key, { commonName: name })),
    complete({ certificatePem, caPem, serviceFile }) {
      withWriteErrors(paths.ca, () => writeFileSync(paths.ca, caPem, { mode: 0o644 }));
      if (serviceFile !== undefined) {
        const path = resolve(join(directory, SERVICE_FILE));
        withWriteErrors(path, () => writeFileSync(path, serviceFile, { mode: 0o644 }));
      }
      // The certificate is written last, because its presence means that the credentials are complete.
      withWriteErrors(paths.certificate, () =>
        writeFileSync(paths.certificate, certificatePem, { mode: 0o644, flag: 'wx' }),
      );
      return paths;
    },
  };
}

function makeKey(path: string): KeyObject {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600, flag: 'wx', flush: true });
  return privateKey;
}

function readKey(path: string): KeyObject {
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new Problem('private_key_exposed', {
      reason: path,
      hint: `chmod 600 ${path}, or remove it if others may have read it`,
    });
  }
  const key = createPrivateKey(readFileSync(path));
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new Problem('usage', { reason: `expected an EC P-256 key in ${path}` });
  }
  return key;
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

function withWriteErrors<T>(path: string, write: () => T): T {
  try {
    return write();
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem('usage', {
      reason: `${path} could not be written: ${(error as NodeJS.ErrnoException).code ?? 'not a key'}`,
    });
  }
}
