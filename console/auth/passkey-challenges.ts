/**
 * Challenges for passkeys: random, valid for five minutes, once, for one purpose, and in the browser that asked for them, which has a cookie.
 * A challenge carries its end and a MAC, so that nothing is stored for those that nobody answers; those that were answered are
 * remembered until their end. The key of the MAC is of this process: a restart ends all challenges, and of several nodes only the one that made a
 * challenge can use it, whichever node the answer comes to.
 */

import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

const NONCE_BYTES = 16;
const END_BYTES = 6;
const MAC_BYTES = 32;
export const CHALLENGE_LIFE_MS = 5 * 60_000;

/** The purpose, and who answers: an operator who signed in, or `''`. */
export interface ChallengePurpose {
  readonly purpose: 'register' | 'sign-in' | 'reauthenticate';
  readonly session: string;
}

/** One that was answered to another node than the one that made it. */
export interface ChallengeUse {
  /** base64url */
  readonly challenge: string;
  readonly purpose: ChallengePurpose;
  /** Hash of the secret in the cookie. */
  readonly browser: string;
}

/** Challenges of the nodes of a fleet. */
export interface OtherChallenges {
  /** Whether another node made it, and had not used it; used it is from then on. */
  use(order: ChallengeUse): Promise<boolean>;
  /** Other nodes ask for those that were made here. */
  answerWith(use: (order: ChallengeUse) => boolean): void;
}

export class PasskeyChallenges {
  readonly #now: () => number;
  readonly #key = randomBytes(32);
  /** Their ends, in the order of their use. */
  readonly #used = new Map<string, number>();
  readonly #others: OtherChallenges | undefined;

  constructor(now: () => number, others?: OtherChallenges) {
    this.#now = now;
    this.#others = others;
    others?.answerWith((order) => this.#isOwn(order) && this.#use(order.challenge));
  }

  /** `browser`: the secret in the cookie. */
  make(purpose: ChallengePurpose, browser: string): Uint8Array<ArrayBuffer> {
    const challenge = new Uint8Array(NONCE_BYTES + END_BYTES + MAC_BYTES);
    const buffer = Buffer.from(challenge.buffer);
    randomBytes(NONCE_BYTES).copy(buffer);
    buffer.writeUIntBE(this.#now() + CHALLENGE_LIFE_MS, NONCE_BYTES, END_BYTES);
    this.#mac(buffer, purpose, hashOf(browser)).copy(buffer, NONCE_BYTES + END_BYTES);
    return challenge;
  }

  /**
   * Whether it was made here for this, has not ended, and was not used; or may have been made by another node, which `use()` asks.
   * `challenge`: base64url.
   */
  isOpen(challenge: string, purpose: ChallengePurpose, browser: string): boolean {
    const buffer = Buffer.from(challenge, 'base64url');
    if (buffer.length !== NONCE_BYTES + END_BYTES + MAC_BYTES || this.#used.has(challenge)) return false;
    if (endOf(buffer) <= this.#now()) return false;
    return this.#others !== undefined || this.#isOwn({ challenge, purpose, browser: hashOf(browser) });
  }

  /** After the answer was verified. False when it was used before, or no node that answers made it for this. */
  async use(challenge: string, purpose: ChallengePurpose, browser: string): Promise<boolean> {
    const order = { challenge, purpose, browser: hashOf(browser) };
    if (this.#isOwn(order)) return this.#use(challenge);
    return (await this.#others?.use(order)) === true;
  }

  #isOwn({ challenge, purpose, browser }: ChallengeUse): boolean {
    const buffer = Buffer.from(challenge, 'base64url');
    if (buffer.length !== NONCE_BYTES + END_BYTES + MAC_BYTES || endOf(buffer) <= this.#now()) return false;
    return timingSafeEqual(buffer.subarray(NONCE_BYTES + END_BYTES), this.#mac(buffer, purpose, browser));
  }

  #use(challenge: string): boolean {
    if (this.#used.has(challenge)) return false;
    for (const [used, end] of this.#used) {
      if (end > this.#now()) break;
      this.#used.delete(used);
    }
    this.#used.set(challenge, endOf(Buffer.from(challenge, 'base64url')));
    return true;
  }

  #mac(challenge: Buffer, { purpose, session }: ChallengePurpose, browser: string): Buffer {
    return createHmac('sha256', this.#key)
      .update(challenge.subarray(0, NONCE_BYTES + END_BYTES))
      .update(JSON.stringify([purpose, session, browser]))
      .digest();
  }
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url');
}

function endOf(challenge: Buffer): number {
  return challenge.readUIntBE(NONCE_BYTES, END_BYTES);
}
