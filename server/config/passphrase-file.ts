/** A passphrase comes in a file: whatever stands on a command line, others on the machine can read. */

import { readFileSync, statSync } from 'node:fs';
import { Problem } from '@rollcall/protocol';
import { MIN_PASSPHRASE_CHARACTERS } from '../backup/encryption.ts';

const OTHERS = 0o077;

/** The first line. Problem `usage` for a file that can't be read or holds too little, `private_key_exposed` when others can read it. */
export function readPassphraseFile(file: string): string {
  let text: string;
  let mode: number;
  try {
    ({ mode } = statSync(file));
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new Problem('usage', { detail: 'expected a file with a passphrase, found none that can be read', cause });
  }
  if ((mode & OTHERS) !== 0) {
    throw new Problem('private_key_exposed', { reason: `${file}: expected mode 0600`, hint: 'chmod 600 it' });
  }
  const passphrase = text.split(/\r?\n/, 1)[0] as string;
  if (passphrase.length >= MIN_PASSPHRASE_CHARACTERS) return passphrase;
  throw new Problem('usage', { detail: `expected a passphrase of at least ${MIN_PASSPHRASE_CHARACTERS} characters` });
}
