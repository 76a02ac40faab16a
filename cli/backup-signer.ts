/**
 * The key that signs a backup without keys: the fleet's issuing CA, or an operator's key. Reads the data directory of a server
 * that may run, and writes nothing into it.
 */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import { keySigner, openPkcs11Token, REFUSED_PIN_FILE, readSecretFile } from '../enroll/index.ts';
import { readActiveIssuer } from '../registry/open.ts';
import type { BackupSigner } from '../server/backup/index.ts';
import type { Config } from '../server/config/index.ts';

export interface OpenBackupSigner extends BackupSigner {
  close(): void;
}

const HINT =
  'name the settings of the server with --config, sign with --signing-key, or encrypt with --passphrase-file';

/** Problem `usage` when the file holds no private key on P-256, `private_key_exposed` when others can read it. */
export async function operatorSigner(file: string): Promise<OpenBackupSigner> {
  const text = await readSecretFile(file, 'signing key', undefined);
  const signer = signerOf(text, undefined);
  if (signer === undefined) throw new Problem('usage', { detail: 'expected a private key on P-256 in --signing-key' });
  return { sign: (bytes) => signer.sign(bytes), close: () => {} };
}

/** Problem `authority_unusable` when the key is not here or cannot be opened with these settings. */
export async function authoritySigner(
  data: string,
  { certificates: { keys } }: Config,
  credentialsDirectory: string | undefined,
): Promise<OpenBackupSigner> {
  const [registry, directory] = [join(data, 'registry.db'), join(data, 'ca')];
  const der = existsSync(registry) ? readActiveIssuer(registry) : undefined;
  const name = der && existsSync(directory) ? nameOf(der, directory) : undefined;
  if (name === undefined) throw unusable('expected the certificate of the issuing CA that signs, found none');
  const certificate = readFileSync(join(directory, `${name}.pem`), 'utf8');
  const [keyFile, uriFile] = [join(directory, `${name}.key`), join(directory, `${name}.uri`)];
  if (existsSync(keyFile)) {
    const passphrase =
      keys.passphraseFile === ''
        ? undefined
        : await readSecretFile(keys.passphraseFile, 'passphrase', credentialsDirectory);
    const signer = signerOf(readFileSync(keyFile, 'utf8'), passphrase);
    if (signer === undefined) throw unusable(`expected a key in ${keyFile} that these settings open`);
    return { sign: (bytes) => signer.sign(bytes), certificate, close: () => {} };
  }
  if (!existsSync(uriFile) || keys.pkcs11.module === '') throw unusable(`expected ${keyFile}, found none`);
  const refusedPinFile = join(directory, REFUSED_PIN_FILE);
  const token = await openPkcs11Token(keys.pkcs11, { refusedPinFile, credentialsDirectory });
  try {
    const signer = await token.find(readFileSync(uriFile, 'utf8').trim());
    return { sign: (bytes) => signer.sign(bytes), certificate, close: () => token.close() };
  } catch (error) {
    token.close();
    throw error;
  }
}

function nameOf(der: Uint8Array, directory: string): string | undefined {
  return readdirSync(directory)
    .filter((file) => /^issuing(?:-[0-9a-f]{8})?\.pem$/.test(file))
    .find((file) => new X509Certificate(readFileSync(join(directory, file))).raw.equals(der))
    ?.slice(0, -'.pem'.length);
}

/** Undefined for anything but an EC key on P-256 that this passphrase opens. OpenSSL's own message may quote the file. */
function signerOf(pem: string, passphrase: string | undefined) {
  try {
    const key = createPrivateKey({ key: pem, ...(passphrase !== undefined && { passphrase }) });
    return key.asymmetricKeyDetails?.namedCurve === 'prime256v1' ? keySigner(key) : undefined;
  } catch {
    return undefined;
  }
}

function unusable(reason: string): Problem {
  return new Problem('authority_unusable', { reason, hint: HINT });
}
