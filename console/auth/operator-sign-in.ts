/**
 * Signs operators in: by password and second factor, by a passkey, or by a one-time link. Every refusal of name, password and code is the same
 * answer after the same time; the log has the reason. Audited are sign-ins, and refusals of operators that exist.
 */

import { Problem } from '@rollcall/protocol';
import type { AuthenticationResponseJSON } from '@simplewebauthn/server';
import type { Logger } from 'pino';
import { networkOf, type RefusalLog } from '../../limits/index.ts';
import {
  type BegunOperatorSession,
  type OperatorCredentials,
  type PasskeyRecord,
  type Registry,
  runWithOrigin,
  type SecondFactor,
} from '../../registry/index.ts';
import { type Guess, GuessLimiter } from './guess-limiter.ts';
import type { OtherChallenges } from './passkey-challenges.ts';
import { type PasskeyBrowser, Passkeys } from './passkeys.ts';
import { PasswordHasher } from './password-hash.ts';
import { canonicalRecoveryCode } from './recovery-codes.ts';
import { totpStep } from './totp.ts';

export interface SignInOptions {
  readonly registry: Registry;
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
  /** Milliseconds without a request after which a session ends. */
  readonly idleMs: number;
  /** Milliseconds after which a session ends in any case. */
  readonly lifetimeMs: number;
  /** Of other nodes that share a store. */
  readonly otherChallenges?: OtherChallenges | undefined;
}

/** Where a request comes from, for limits, the list of sessions and the audit. */
export interface SignInClient {
  readonly address: string;
  readonly userAgent: string;
}

export interface PasswordSignIn {
  readonly operator: string;
  readonly password: string;
  /** Of the second factor: TOTP or a recovery code. */
  readonly code?: string | undefined;
}

/** A password, and a code where one is needed, that were verified. */
interface Verified {
  readonly method: string;
  readonly secondFactor?: SecondFactor;
}

export class OperatorSignIn {
  readonly #options: SignInOptions;
  readonly #guesses: GuessLimiter;
  readonly #hasher = new PasswordHasher();
  readonly passkeys: Passkeys;

  constructor(options: SignInOptions) {
    this.#options = options;
    this.#guesses = new GuessLimiter(options.now);
    this.passkeys = new Passkeys(options);
  }

  /** Problem `sign_in_refused`, `code_required` or `rate_limited`. */
  async byPassword(order: PasswordSignIn, client: SignInClient): Promise<BegunOperatorSession> {
    const verified = await this.#verify(order, client);
    return this.#begin(order.operator, verified, client);
  }

  /** The session has another secret from then on. Problem `sign_in_refused`, `code_required` or `rate_limited`. */
  async again(
    session: { readonly id: string; readonly operator: string },
    order: Omit<PasswordSignIn, 'operator'>,
    client: SignInClient,
  ): Promise<BegunOperatorSession> {
    const { id, operator } = session;
    const verified = await this.#verify({ operator, ...order }, client);
    return this.#settle(operator, client, (registry) => registry.renewOperatorSession(id, verified));
  }

  /** Sets the password and begins a session. Problem `link_invalid`, `code_required`, `sign_in_refused`, `password_refused` or `rate_limited`. */
  async byLink(
    order: { readonly secret: string; readonly operator?: string | undefined } & Omit<PasswordSignIn, 'operator'>,
    client: SignInClient,
  ): Promise<BegunOperatorSession> {
    const { registry } = this.#options;
    const link = await this.findLink(order.secret, client);
    const operator = link.operator ?? order.operator;
    if (operator === undefined) throw new Problem('request_invalid', { detail: 'body.operator: expected a name' });
    const credentials = await registry.findOperatorCredentials(operator);
    const verified = { method: 'link', ...(await this.#secondFactor(credentials, order.code, operator, client)) };
    const passwordHash = await this.#hasher.hash(order.password);
    const session = this.sessionOrder(operator, verified, client);
    const use = { secret: order.secret, passwordHash, session };
    return this.#settle(operator, client, () => registry.useSignInLink(use));
  }

  /** With the passkey, which is two factors. Problem `passkey_refused` or `rate_limited`. */
  async byPasskey(
    credential: AuthenticationResponseJSON,
    browser: PasskeyBrowser,
    client: SignInClient,
  ): Promise<BegunOperatorSession> {
    const { operator } = await this.#verifyPasskey(undefined, credential, browser, client);
    return this.#begin(operator, { method: 'passkey' }, client);
  }

  /** The session has another secret from then on. Problem `passkey_refused` or `rate_limited`. */
  async againByPasskey(
    session: { readonly id: string; readonly operator: string },
    credential: AuthenticationResponseJSON,
    browser: PasskeyBrowser,
    client: SignInClient,
  ): Promise<BegunOperatorSession> {
    const { operator } = await this.#verifyPasskey(session, credential, browser, client);
    const renewal = { method: 'passkey' };
    return this.#settle(operator, client, (registry) => registry.renewOperatorSession(session.id, renewal));
  }

  /** Problem `link_invalid` or `rate_limited`. */
  async findLink(secret: string, { address }: SignInClient) {
    const link = await this.#options.registry.findSignInLink(secret);
    if (link !== undefined) return link;
    this.#guesses.countAddress(address);
    throw new Problem('link_invalid');
  }

  /** Problem `password_refused` or `rate_limited`. */
  hash(password: string): Promise<string> {
    return this.#hasher.hash(password);
  }

  /** For `registry.beginOperatorSession()`. */
  sessionOrder(operator: string, verified: Verified, { address, userAgent }: SignInClient) {
    const { idleMs, lifetimeMs } = this.#options;
    return { operator, ...verified, address, userAgent, idleMs, lifetimeMs };
  }

  /** A right passkey is never limited. */
  async #verifyPasskey(
    session: { readonly id: string; readonly operator: string } | undefined,
    credential: AuthenticationResponseJSON,
    browser: PasskeyBrowser,
    { address }: SignInClient,
  ): Promise<PasskeyRecord> {
    try {
      const passkey = await this.passkeys.verify(session, credential, browser);
      const credentials = await this.#options.registry.findOperatorCredentials(passkey.operator);
      if (credentials?.state === 'active') return passkey;
      throw new Problem('passkey_refused', { reason: 'operator is disabled' });
    } catch (error) {
      if (!(error instanceof Problem) || error.code !== 'passkey_refused') throw error;
      const { log, refusalLog } = this.#options;
      refusalLog.write(log, 'warn', address, { address, reason: error.reason }, 'passkey refused');
      this.#guesses.countAddress(address);
      throw error;
    }
  }

  async #verify({ operator, password, code }: PasswordSignIn, client: SignInClient): Promise<Verified> {
    const credentials = await this.#options.registry.findOperatorCredentials(operator);
    const guess = await this.#guessOf(operator, client);
    this.#guesses.countPassword(guess);
    const hash = credentials?.state === 'active' ? credentials.passwordHash : undefined;
    const isRight = await this.#hasher.verify(password, hash, guess.isKnownNetwork ? 'known' : 'other');
    if (!isRight) return this.#refuse(credentials, client, 'wrong password');
    const factor = await this.#secondFactor(credentials, code, operator, client);
    return {
      method: factor.secondFactor === undefined ? 'password' : `password+${factor.secondFactor.kind}`,
      ...factor,
    };
  }

  async #guessOf(name: string, { address }: SignInClient): Promise<Guess> {
    const network = networkOf(address);
    const addresses = await this.#options.registry.listSignInAddresses(name);
    return { name, address, isKnownNetwork: addresses.some((known) => networkOf(known) === network) };
  }

  async #secondFactor(
    credentials: OperatorCredentials | undefined,
    code: string | undefined,
    operator: string,
    client: SignInClient,
  ): Promise<{ readonly secondFactor?: SecondFactor }> {
    if (!credentials?.totp?.isConfirmed) return {};
    if (code === undefined) throw new Problem('code_required');
    this.#guesses.countCode(await this.#guessOf(operator, client));
    const digits = code.replaceAll(' ', '');
    if (!/^\d{6}$/.test(digits)) return { secondFactor: { kind: 'recovery', code: canonicalRecoveryCode(code) } };
    const step = totpStep(credentials.totp.secret, digits, this.#options.now());
    return step === undefined
      ? this.#refuse(credentials, client, 'wrong code')
      : { secondFactor: { kind: 'totp', step } };
  }

  #begin(operator: string, verified: Verified, client: SignInClient): Promise<BegunOperatorSession> {
    const order = this.sessionOrder(operator, verified, client);
    return this.#settle(operator, client, (registry) => registry.beginOperatorSession(order));
  }

  /** Everything that it writes has the address in the audit. Problem `sign_in_refused` for a code that was used before. */
  async #settle(
    operator: string,
    client: SignInClient,
    work: (registry: Registry) => Promise<BegunOperatorSession | undefined>,
  ): Promise<BegunOperatorSession> {
    const { registry } = this.#options;
    const origin = { apiKey: undefined, address: client.address };
    const begun = await runWithOrigin(origin, () => work(registry));
    if (begun !== undefined) return begun;
    const credentials = await registry.findOperatorCredentials(operator);
    return this.#refuse(credentials, client, 'unknown recovery code, or a code that was used before');
  }

  /** The audit entry is written after the answer, so that the time of the answer does not show whether the operator exists. */
  #refuse(credentials: OperatorCredentials | undefined, { address }: SignInClient, reason: string): never {
    const { registry, log, refusalLog } = this.#options;
    const operator = credentials?.operator;
    refusalLog.write(log, 'warn', address, { address, operator, reason }, 'sign-in refused');
    if (operator !== undefined) {
      setImmediate(() => {
        registry
          .recordAction({
            actor: 'operator/unknown',
            action: 'operator.signed_in',
            subject: `operator/${operator}`,
            outcome: 'refused',
            details: { reason, fromAddress: address },
          })
          .catch((error: unknown) => log.error({ err: error }, 'refused sign-in was not recorded'));
      });
    }
    throw new Problem('sign_in_refused');
  }
}
