/**
 * The key store of the CAs: plain files (mode 0600), encrypted files, or a PKCS#11 token. An existing key is opened in
 * whichever form it has; the setting decides the form of new keys. Callers receive a `Signer` only.
 */

import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import type { CaDirectory, CaName } from './ca-directory.ts';
import { encryptKey } from './encrypted-key.ts';
import { openPkcs11Token, type Pkcs11Options, type Pkcs11Token } from './pkcs11-token.ts';
import { REFUSED_PIN_FILE } from './refused-pin.ts';
import { readSecretFile } from './secret-file.ts';
import { keySigner, type Signer } from './signer.ts';

export interface KeySettings {
  /** The form of new keys. */
  readonly store: 'file' | 'encrypted' | 'pkcs11';
  /** A file with the passphrase of encrypted keys, such as a systemd credential; line breaks at its end are ignored. */
  readonly passphraseFile?: string | undefined;
  readonly pkcs11?: Pkcs11Options | undefined;
  /** systemd's `$CREDENTIALS_DIRECTORY`: below it a secret may be readable for its group. */
  readonly credentialsDirectory?: string | undefined;
}

export interface KeyStore {
  /** Creates an EC key on P-256; it is stored under this name before this resolves. */
  create(name: CaName): Promise<Signer>;
  /** Undefined when there is no key of this name. Throws Problem `signer_unavailable` without its token. */
  open(name: CaName): Promise<Signer | undefined>;
  /** Keys of other nodes can be stored here: those of a token are made in it. */
  readonly takesKeys: boolean;
  /** Stores a key that another node has made, in the form of new keys. */
  store(name: CaName, key: KeyObject): Promise<void>;
  /** PKCS#8 PEM without encryption; undefined when there is no key file of this name. For another node that is to have the key. */
  exportPem(name: CaName): Promise<string | undefined>;
  close(): void;
}

export const PLAIN_FILES: KeySettings = { store: 'file' };

export async function openKeyStore(directory: CaDirectory, settings: KeySettings): Promise<KeyStore> {
  const { passphraseFile, credentialsDirectory } = settings;
  const passphrase = passphraseFile === undefined ? undefined : await readPassphrase(passphraseFile, settings);
  if (settings.store === 'encrypted' && passphrase === undefined) {
    throw new Problem('config_invalid', {
      reason: 'encrypted keys: expected certificates.keys.passphraseFile, found none',
    });
  }
  let token: Pkcs11Token | undefined;
  const openedToken = async (): Promise<Pkcs11Token> => {
    if (settings.pkcs11 === undefined) {
      throw new Problem('config_invalid', { reason: 'keys in a token: expected certificates.keys.pkcs11, found none' });
    }
    token ??= await openPkcs11Token(settings.pkcs11, {
      refusedPinFile: join(directory.path, REFUSED_PIN_FILE),
      credentialsDirectory,
    });
    return token;
  };

  const isToken = settings.store === 'pkcs11';
  const writeKey = async (name: CaName, privateKey: KeyObject): Promise<void> => {
    const plain = () => privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    await directory.writeKey(
      name,
      passphrase === undefined || settings.store === 'file' ? plain() : await encryptKey(privateKey, passphrase),
    );
  };

  return {
    takesKeys: !isToken,
    create: async (name) => {
      if (isToken) {
        const signer = await (await openedToken()).generate(name);
        await directory.writeText(name, 'uri', `${signer.uri}\n`);
        return signer;
      }
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      await writeKey(name, privateKey);
      return keySigner(privateKey);
    },
    store: async (name, key) => {
      if (isToken) throw new Problem('internal', { reason: 'a token takes no keys of other nodes' });
      await writeKey(name, key);
    },
    open: async (name) => {
      const key = await directory.readKey(name, passphrase);
      if (key !== undefined) return keySigner(key);
      const uri = await directory.readText(name, 'uri');
      return uri === undefined ? undefined : (await openedToken()).find(uri.trim());
    },
    exportPem: async (name) => {
      const key = await directory.readKey(name, passphrase);
      return key?.export({ type: 'pkcs8', format: 'pem' }).toString();
    },
    close: () => token?.close(),
  };
}

/** Problem `config_invalid` when there is none, `private_key_exposed` when others can read it. */
async function readPassphrase(file: string, { credentialsDirectory }: KeySettings): Promise<Buffer> {
  const text = await readSecretFile(file, 'passphrase', credentialsDirectory);
  if (Buffer.byteLength(text) >= 8) return Buffer.from(text);
  throw new Problem('config_invalid', { reason: `passphrase file ${file}: expected at least 8 characters` });
}
