/**
 * Hashes of passwords: scrypt (RFC 7914) in Node's thread pool, two at a time, with a short queue, so that guesses cannot use up
 * the pool. Operators on a network that they signed in from wait in a queue of their own, before all others. The parameters are
 * in each hash; one takes about 70 ms on a core of 2.5 GHz and 16 MiB.
 */

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { Problem, parseDecimal } from '@rollcall/protocol';

const PARAMETERS = { N: 16_384, r: 8, p: 1 } as const;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** Four times what the parameters need; a stored hash that needs more is refused. */
const MAX_MEMORY = 67_108_864;
const AT_ONCE = 2;
const MAX_WAITING = 16;
const RETRY_SECONDS = 2;
export const MAX_PASSWORD_BYTES = 1_024;
const MIN_CHARACTERS = 12;

/** `known`: the operator signed in from this network before, or has proven who it is. */
export type HashQueue = 'known' | 'other';

export class PasswordHasher {
  #running = 0;
  readonly #waiting: Readonly<Record<HashQueue, (() => void)[]>> = { known: [], other: [] };
  /** Compared with when there is no such operator, so that the answer takes as long. */
  readonly #noHash = formatHash(PARAMETERS, randomBytes(SALT_BYTES), randomBytes(HASH_BYTES));

  /** Problem `password_refused` for a password that is too short or too long, `rate_limited` when too many wait. */
  async hash(password: string): Promise<string> {
    if (!isAcceptable(password)) throw new Problem('password_refused');
    const salt = randomBytes(SALT_BYTES);
    return formatHash(PARAMETERS, salt, await this.#derive(password, PARAMETERS, salt, 'known'));
  }

  /** False without a hash, after the same time. Problem `rate_limited` when too many wait. */
  async verify(password: string, hash: string | undefined, queue: HashQueue): Promise<boolean> {
    const stored = parseHash(hash ?? this.#noHash);
    const found = await this.#derive(password, stored.parameters, stored.salt, queue);
    return timingSafeEqual(found, stored.hash) && hash !== undefined;
  }

  async #derive(password: string, parameters: ScryptParameters, salt: Buffer, queue: HashQueue): Promise<Buffer> {
    await this.#turn(queue);
    try {
      return await new Promise((resolve, reject) => {
        const options = { ...parameters, maxmem: MAX_MEMORY };
        scrypt(normalized(password), salt, HASH_BYTES, options, (error, key) => (error ? reject(error) : resolve(key)));
      });
    } finally {
      const next = this.#waiting.known.shift() ?? this.#waiting.other.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  #turn(queue: HashQueue): Promise<void> | undefined {
    if (this.#running < AT_ONCE) {
      this.#running += 1;
      return undefined;
    }
    const waiting = this.#waiting[queue];
    if (waiting.length >= MAX_WAITING) {
      throw new Problem('rate_limited', { retryAfter: RETRY_SECONDS, reason: 'too many passwords are being checked' });
    }
    return new Promise((resolve) => waiting.push(resolve));
  }
}

interface ScryptParameters {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/** One form for texts that look the same on screen (NFKC), as RFC 8265 has it for passwords. */
function normalized(password: string): string {
  return password.normalize('NFKC');
}

function isAcceptable(password: string): boolean {
  return Buffer.byteLength(password) <= MAX_PASSWORD_BYTES && [...normalized(password)].length >= MIN_CHARACTERS;
}

/** `scrypt$N$r$p$SALT$HASH`, base64url. */
function formatHash({ N, r, p }: ScryptParameters, salt: Buffer, hash: Buffer): string {
  return ['scrypt', N, r, p, salt.toString('base64url'), hash.toString('base64url')].join('$');
}

function parseHash(text: string): { parameters: ScryptParameters; salt: Buffer; hash: Buffer } {
  const [kind, n, r, p, salt = '', hash = ''] = text.split('$');
  const parameters = { N: parseDecimal(n, 2), r: parseDecimal(r, 1), p: parseDecimal(p, 1) };
  const bytes = Buffer.from(hash, 'base64url');
  if (kind !== 'scrypt' || !isComplete(parameters) || bytes.length !== HASH_BYTES) {
    throw new Problem('internal', { reason: 'expected the hash of a password in the registry, found another text' });
  }
  return { parameters, salt: Buffer.from(salt, 'base64url'), hash: bytes };
}

function isComplete(
  parameters: { readonly [Name in keyof ScryptParameters]: number | undefined },
): parameters is ScryptParameters {
  return Object.values(parameters).every((value) => value !== undefined);
}
