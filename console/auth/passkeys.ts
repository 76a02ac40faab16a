/**
 * Passkeys (WebAuthn, Level 2): registered for an operator who signed in, and verified. They are discoverable, so that no name is
 * typed, and verify their user by PIN or biometrics, so that one is two factors. Attestation with certificates is refused: verifying it
 * would fetch revocation lists. The library is loaded at the first use: it costs 0.4 s and 20 MB.
 */

import { createHash } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type {
  AuthenticationResponseJSON,
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
  RegistrationResponseJSON,
} from '@simplewebauthn/server';
import type { Actor, PasskeyRecord, Registry } from '../../registry/index.ts';
import {
  CHALLENGE_LIFE_MS,
  type ChallengePurpose,
  type OtherChallenges,
  PasskeyChallenges,
} from './passkey-challenges.ts';

/** EdDSA, ES256 and RS256 (RFC 9053, 8812), which authenticators have. */
const ALGORITHMS = [-8, -7, -257] as const;

export interface PasskeysOptions {
  readonly registry: Pick<Registry, 'addPasskey' | 'findPasskey' | 'listPasskeys' | 'usePasskey'>;
  readonly now: () => number;
  /** Of other nodes that share a store. */
  readonly otherChallenges?: OtherChallenges | undefined;
}

/** The browser and the address in its address bar. */
export interface PasskeyBrowser {
  /** The host name of this console, under which the browser reached it. */
  readonly rpId: string;
  /** `https://HOST:PORT`. */
  readonly origin: string;
  /** In the cookie that came with the options. */
  readonly secret: string;
}

export class Passkeys {
  readonly #registry: PasskeysOptions['registry'];
  readonly #challenges: PasskeyChallenges;

  constructor({ registry, now, otherChallenges }: PasskeysOptions) {
    this.#registry = registry;
    this.#challenges = new PasskeyChallenges(now, otherChallenges);
  }

  /** For `navigator.credentials.create()`. */
  async registrationOptions(
    { id, operator }: { readonly id: string; readonly operator: string },
    { rpId, secret }: PasskeyBrowser,
  ): Promise<PublicKeyCredentialCreationOptionsJSON> {
    const { generateRegistrationOptions } = await import('@simplewebauthn/server');
    const existing = await this.#registry.listPasskeys(operator);
    return generateRegistrationOptions({
      rpName: 'Rollcall',
      rpID: rpId,
      userName: operator,
      userDisplayName: operator,
      userID: userId(operator),
      challenge: this.#challenges.make({ purpose: 'register', session: id }, secret),
      timeout: CHALLENGE_LIFE_MS,
      attestationType: 'none',
      supportedAlgorithmIDs: [...ALGORITHMS],
      excludeCredentials: existing.map((passkey) => ({ id: passkey.id, transports: [...passkey.transports] })),
      authenticatorSelection: { residentKey: 'required', requireResidentKey: true, userVerification: 'required' },
    });
  }

  /** Problem `passkey_refused`, `passkey_exists` or `request_invalid`. */
  async register(
    { id, operator }: { readonly id: string; readonly operator: string },
    { name, credential }: { readonly name: string; readonly credential: RegistrationResponseJSON },
    browser: PasskeyBrowser,
    actor: Actor,
  ): Promise<PasskeyRecord> {
    const { verifyRegistrationResponse } = await import('@simplewebauthn/server');
    const purpose = { purpose: 'register', session: id } as const;
    const verified = await refusingWith(async () => {
      await expectNoCertificates(credential);
      return verifyRegistrationResponse({
        response: credential,
        expectedChallenge: (challenge) => this.#challenges.isOpen(challenge, purpose, browser.secret),
        expectedOrigin: browser.origin,
        expectedRPID: browser.rpId,
        requireUserVerification: true,
        supportedAlgorithmIDs: [...ALGORITHMS],
      });
    });
    if (!verified.verified) throw refused('not verified');
    await this.#useChallenge(credential.response.clientDataJSON, purpose, browser);
    const { id: credentialId, publicKey, counter } = verified.registrationInfo.credential;
    const transports = credential.response.transports ?? [];
    const { rpId } = browser;
    return this.#registry.addPasskey({ id: credentialId, operator, name, publicKey, counter, transports, rpId }, actor);
  }

  /** For `navigator.credentials.get()`. `session`: of the operator who authenticates again, undefined to sign in. */
  async authenticationOptions(
    session: { readonly id: string; readonly operator: string } | undefined,
    { rpId, secret }: PasskeyBrowser,
  ): Promise<PublicKeyCredentialRequestOptionsJSON> {
    const { generateAuthenticationOptions } = await import('@simplewebauthn/server');
    // Those of a stranger are not named: the list would show who exists.
    const own = session === undefined ? [] : await this.#registry.listPasskeys(session.operator);
    return generateAuthenticationOptions({
      rpID: rpId,
      challenge: this.#challenges.make(purposeOf(session), secret),
      timeout: CHALLENGE_LIFE_MS,
      userVerification: 'required',
      allowCredentials: own.map((passkey) => ({ id: passkey.id, transports: [...passkey.transports] })),
    });
  }

  /** The passkey, whose use is recorded. Problem `passkey_refused`, with its reason for the log. */
  async verify(
    session: { readonly id: string; readonly operator: string } | undefined,
    credential: AuthenticationResponseJSON,
    browser: PasskeyBrowser,
  ): Promise<PasskeyRecord> {
    const { verifyAuthenticationResponse } = await import('@simplewebauthn/server');
    const passkey = await this.#registry.findPasskey(credential.id);
    if (passkey === undefined) throw refused('unknown passkey');
    if (session !== undefined && passkey.operator !== session.operator) throw refused('passkey of another operator');
    const { userHandle } = credential.response;
    const isNamed = session !== undefined && (userHandle === undefined || userHandle === null);
    if (!isNamed && userHandle !== Buffer.from(userId(passkey.operator)).toString('base64url')) {
      throw refused('user handle of another operator');
    }
    const { id, counter, transports } = passkey;
    const { verified, authenticationInfo } = await refusingWith(() =>
      verifyAuthenticationResponse({
        response: credential,
        expectedChallenge: (challenge) => this.#challenges.isOpen(challenge, purposeOf(session), browser.secret),
        expectedOrigin: browser.origin,
        expectedRPID: browser.rpId,
        credential: { id, publicKey: new Uint8Array(passkey.publicKey), counter, transports: [...transports] },
        requireUserVerification: true,
      }),
    );
    if (!verified) throw refused('wrong signature');
    await this.#useChallenge(credential.response.clientDataJSON, purposeOf(session), browser);
    if (!(await this.#registry.usePasskey(id, authenticationInfo.newCounter))) throw refused('counter did not grow');
    return passkey;
  }

  async #useChallenge(clientDataJSON: string, purpose: ChallengePurpose, { secret }: PasskeyBrowser): Promise<void> {
    const { challenge } = JSON.parse(Buffer.from(clientDataJSON, 'base64url').toString()) as { challenge: string };
    if (await this.#challenges.use(challenge, purpose, secret)) return;
    throw refused('challenge was used before, or is of no node that answers');
  }
}

function purposeOf(session: { readonly id: string } | undefined): ChallengePurpose {
  return session === undefined
    ? { purpose: 'sign-in', session: '' }
    : { purpose: 'reauthenticate', session: session.id };
}

/** At most 64 bytes that say nothing about the person (WebAuthn, 14.6.1); the same for all passkeys of an operator. */
function userId(operator: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash('sha256').update(`rollcall operator ${operator}`).digest());
}

/** The authenticator may sign its own statement (`packed` without certificates); a browser sends no other without consent. */
async function expectNoCertificates({ response }: RegistrationResponseJSON): Promise<void> {
  const { decodeAttestationObject } = await import('@simplewebauthn/server/helpers');
  const decoded = decodeAttestationObject(new Uint8Array(Buffer.from(response.attestationObject, 'base64url')));
  const format = decoded.get('fmt');
  if (format === 'none' || (format === 'packed' && decoded.get('attStmt').get('x5c') === undefined)) return;
  throw new Error('attestation with certificates');
}

/** The library throws what it found; a client gets one answer for all. */
async function refusingWith<Result>(verify: () => Promise<Result>): Promise<Result> {
  try {
    return await verify();
  } catch (error) {
    throw refused((error as Error).message.slice(0, 200));
  }
}

function refused(reason: string): Problem {
  return new Problem('passkey_refused', { reason });
}
