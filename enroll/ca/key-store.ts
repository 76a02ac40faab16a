/**
 * Where the keys of CAs live: plain files (mode 0600), files under a passphrase, or a PKCS#11 token. A key that exists is
 * opened wherever it lies; the setting says where a new one is made. Whoever signs sees a `Signer` and nothing else.
 */

import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { Problem } from '@rollcall/protocol';
import type { CaDirectory, CaName } from './ca-directory.ts';
import { sealKey } from './encrypted-key.ts';
import { openToken, type Token, type TokenOptions } from './pkcs11-token.ts';
import { readPrivateText } from './private-file.ts';
import { REFUSED_PIN_FILE } from './refused-pin.ts';
import { keySigner, type Signer } from './signer.ts';

export interface KeySettings {
  /** Where new keys are made. */
  readonly home: 'file' | 'sealed' | 'pkcs11';
  /** A file that holds the passphrase of sealed keys, such as a systemd credential; line breaks at its end don't count. */
  readonly passphraseFile?: string | undefined;
  readonly pkcs11?: TokenOptions | undefined;
  /** systemd's `$CREDENTIALS_DIRECTORY`: below it a secret may be readable for its group. */
  readonly credentialsDirectory?: string | undefined;
}

export interface KeyHome {
  /** A new EC key on P-256, kept under this name before this resolves. */
  create(name: CaName): Promise<Signer>;
  /** Undefined when there is no key of this name. Problem `signer_unavailable` when its token is not there. */
  open(name: CaName): Promise<Signer | undefined>;
  /** Whether a key of this name lies here in a form that can be taken elsewhere. */
  close(): void;
}

export const PLAIN_FILES: KeySettings = { home: 'file' };

export async function openKeyHome(directory: CaDirectory, settings: KeySettings): Promise<KeyHome> {
  const { passphraseFile, credentialsDirectory } = settings;
  const passphrase = passphraseFile === undefined ? undefined : await readPassphrase(passphraseFile, settings);
  if (settings.home === 'sealed' && passphrase === undefined) {
    throw new Problem('config_invalid', {
      reason: 'sealed keys: expected certificates.keys.passphraseFile, found none',
    });
  }
  let token: Token | undefined;
  const theToken = async (): Promise<Token> => {
    if (settings.pkcs11 === undefined) {
      throw new Problem('config_invalid', { reason: 'keys in a token: expected certificates.keys.pkcs11, found none' });
    }
    token ??= await openToken(settings.pkcs11, {
      refusedPinFile: join(directory.path, REFUSED_PIN_FILE),
      credentialsDirectory,
    });
    return token;
  };

  return {
    create: async (name) => {
      if (settings.home === 'pkcs11') {
        const signer = await (await theToken()).generate(name);
        await directory.writeText(name, 'uri', `${signer.uri}\n`);
        return signer;
      }
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const plain = () => privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
      await directory.writeKey(
        name,
        passphrase === undefined || settings.home === 'file' ? plain() : await sealKey(privateKey, passphrase),
      );
      return keySigner(privateKey);
    },
    open: async (name) => {
      const key = await directory.readKey(name, passphrase);
      if (key !== undefined) return keySigner(key);
      const uri = await directory.readText(name, 'uri');
      return uri === undefined ? undefined : (await theToken()).find(uri.trim());
    },
    close: () => token?.close(),
  };
}

/** Problem `config_invalid` when there is none, `private_key_exposed` when others can read it. */
async function readPassphrase(file: string, { credentialsDirectory }: KeySettings): Promise<Buffer> {
  const text = await readPrivateText(file, 'passphrase', credentialsDirectory);
  if (Buffer.byteLength(text) >= 8) return Buffer.from(text);
  throw new Problem('config_invalid', { reason: `passphrase file ${file}: expected at least 8 characters` });
}
