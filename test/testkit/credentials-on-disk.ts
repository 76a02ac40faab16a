/** Keys and certificates as files, for programs that read nothing else: `key.pem`, `cert.pem` (leaf first) and `ca.pem`. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { prepareCredentials } from '../../cli/credential-files.ts';
import type { ServiceName } from '../../contract/identity.ts';
import type { StoredIdentity } from '../../device-sdk/identity-store.ts';
import type { TestFleet } from './fleet.ts';

export interface CredentialFiles {
  readonly key: string;
  readonly certificate: string;
  /** The root. */
  readonly ca: string;
}

/** An enrolled device's, in a directory that is made. */
export function writeCredentials(
  directory: string,
  identity: Pick<StoredIdentity, 'keyPem' | 'certificatePem' | 'rootPem'>,
): CredentialFiles {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const files = {
    key: join(directory, 'key.pem'),
    certificate: join(directory, 'cert.pem'),
    ca: join(directory, 'ca.pem'),
  };
  writeFileSync(files.key, identity.keyPem, { mode: 0o600 });
  writeFileSync(files.certificate, identity.certificatePem);
  writeFileSync(files.ca, identity.rootPem);
  return files;
}

/** A new service's. */
export async function issueService(fleet: TestFleet, directory: string, name: string): Promise<CredentialFiles> {
  const prepared = prepareCredentials(directory, name);
  const answer = await fleet.operator.issueService({ name: name as ServiceName, csrPem: prepared.csrPem });
  return prepared.complete(answer.certificatePem, answer.caPem);
}
