/** Keys and certificates as files, for programs that read nothing else. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Credentials } from './mqtt.ts';

export interface CredentialFiles {
  readonly key: string;
  /** Leaf first, without the root. */
  readonly certificate: string;
  /** The root. */
  readonly ca: string;
}

/** Writes `key.pem`, `cert.pem` and `ca.pem` in a directory that is made if it isn't there. */
export function writeCredentials(directory: string, credentials: Omit<Credentials, 'mqttUrl'>): CredentialFiles {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const files = {
    key: join(directory, 'key.pem'),
    certificate: join(directory, 'cert.pem'),
    ca: join(directory, 'ca.pem'),
  };
  writeFileSync(files.key, credentials.keyPem, { mode: 0o600 });
  writeFileSync(files.certificate, credentials.certificatePem);
  writeFileSync(files.ca, credentials.rootPem);
  return files;
}
