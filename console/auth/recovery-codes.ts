/** Recovery codes, each for one sign-in without the second factor: 80 random bits in letters that are not taken for digits. */

import { randomBytes } from 'node:crypto';

const CODES = 10;
const BYTES = 10;
/** Of Crockford's base 32, in lower case: without i, l, o and u. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

/** `4k2t-9fwm-…`, four groups of four. */
export function makeRecoveryCodes(): readonly string[] {
  return Array.from({ length: CODES }, () => {
    const text = [...base32(randomBytes(BYTES))].join('');
    return (text.match(/.{4}/g) as string[]).join('-');
  });
}

/** As it is stored, whether it was typed with or without hyphens and spaces, in capitals or not. */
export function canonicalRecoveryCode(typed: string): string {
  return typed.toLowerCase().replaceAll(/[\s-]/g, '');
}

function* base32(bytes: Buffer): Generator<string> {
  let value = 0;
  let bits = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      yield ALPHABET[(value >> bits) & 31] as string;
    }
    value &= (1 << bits) - 1;
  }
}
