/** Passphrases are read from a file, because other users of the machine can read a command line. */

import { readFileSync, statSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import { MIN_PASSPHRASE_CHARACTERS } from '../backup/encryption.ts';

const GROUP_AND_OTHERS = 0o077;

/** Reads the first line. Throws Problem `usage` if the file is unreadable or the line too short, `private_key_exposed` if others can read it. */
export function readPassphraseFile(file: string): string {
  let text: string;
  let mode: number;
  try {
    ({ mode } = statSync(file));
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new Problem('usage', { detail: 'expected a file with a passphrase, found none that can be read', cause });
  }
  if ((mode & GROUP_AND_OTHERS) !== 0) {
    throw new Problem('private_key_exposed', { reason: `${file}: expected mode 0600`, hint: `chmod 600 ${file}` });
  }
  const passphrase = text.split(/\r?\n/, 1)[0] as string;
  if (passphrase.length >= MIN_PASSPHRASE_CHARACTERS) return passphrase;
  throw new Problem('usage', { detail: `expected a passphrase of at least ${MIN_PASSPHRASE_CHARACTERS} characters` });
}
