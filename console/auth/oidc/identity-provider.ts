/**
 * The identity provider of the operators (OpenID Connect Core 1.0): authorization code flow with PKCE, state and nonce, by
 * `openid-client`, which checks state, `iss` (RFC 9207), and issuer, audience, nonce, dates and signature of the ID token. Its
 * metadata is read at the first sign-in, and again after an hour: a provider that is down stops no server.
 */

import { Problem } from '@rollcall/protocol';
import type { ClientAuth, Configuration, ServerMetadata } from 'openid-client';
import type { Logger } from 'pino';
import { type Account, accountOf } from './account-claims.ts';
import { httpsFetch } from './https-fetch.ts';
import type { OidcOptions } from './oidc-options.ts';
import type { OidcTransaction } from './transaction-cookie.ts';

type Client = typeof import('openid-client');

const METADATA_MS = 3_600_000;
/** A sign-in that is asked for anew happened in the last five minutes. */
const AGAIN_SECONDS = 300;
const CLOCK_TOLERANCE_S = 30;

export interface IdentityProviderOptions extends OidcOptions {
  readonly now: () => number;
  readonly log: Logger;
}

export class IdentityProvider {
  readonly #options: IdentityProviderOptions;
  #known: { readonly metadata: Promise<ServerMetadata>; readonly until: number } | undefined;

  constructor(options: IdentityProviderOptions) {
    this.#options = options;
  }

  get issuer(): string {
    return this.#options.issuer;
  }

  /** Where the browser is sent. Problem `oidc_unavailable`. */
  async authorizationUrl(transaction: OidcTransaction, redirectUri: string): Promise<string> {
    const { scopes } = this.#options;
    const { state, nonce, codeVerifier, isAgain } = transaction;
    const client = await import('openid-client');
    const url = client.buildAuthorizationUrl(await this.#configuration(client), {
      redirect_uri: redirectUri,
      scope: scopes.join(' '),
      state,
      nonce,
      code_challenge: await client.calculatePKCECodeChallenge(codeVerifier),
      code_challenge_method: 'S256',
      ...(isAgain && { prompt: 'login', max_age: String(AGAIN_SECONDS) }),
    });
    return url.href;
  }

  /** `answerUrl`: to which the provider sent the browser. Problem `oidc_refused`, `oidc_no_access` or `oidc_unavailable`. */
  async account(transaction: OidcTransaction, answerUrl: URL): Promise<Account> {
    const client = await import('openid-client');
    const configuration = await this.#configuration(client);
    const { state, nonce, codeVerifier, isAgain } = transaction;
    let claims: ReturnType<Awaited<ReturnType<Client['authorizationCodeGrant']>>['claims']>;
    try {
      const tokens = await client.authorizationCodeGrant(configuration, answerUrl, {
        expectedState: state,
        expectedNonce: nonce,
        pkceCodeVerifier: codeVerifier,
        idTokenExpected: true,
        ...(isAgain && { maxAge: AGAIN_SECONDS }),
      });
      claims = tokens.claims();
    } catch (error) {
      throw failure(error);
    }
    if (claims === undefined) throw new Problem('oidc_refused', { reason: 'expected an ID token, found none' });
    return accountOf(claims, this.#options);
  }

  /** Of one sign-in: the clock and the keys of the provider are those of now. */
  async #configuration(client: Client): Promise<Configuration> {
    const { now, clientId, ca } = this.#options;
    const metadata = await this.#metadata(client);
    const configuration = new client.Configuration(
      metadata,
      clientId,
      {
        [client.clockSkew]: Math.round((now() - Date.now()) / 1_000),
        [client.clockTolerance]: CLOCK_TOLERANCE_S,
      },
      this.#authentication(client, metadata),
    );
    configuration[client.customFetch] = httpsFetch(ca) as never;
    client.enableNonRepudiationChecks(configuration); // the signature too, not only that the ID token came over TLS
    return configuration;
  }

  #metadata(client: Client): Promise<ServerMetadata> {
    const { now } = this.#options;
    if (this.#known === undefined || this.#known.until <= now()) {
      const metadata = this.#discover(client);
      this.#known = { metadata, until: now() + METADATA_MS };
      metadata.catch(() => {
        this.#known = undefined;
      });
    }
    return this.#known.metadata;
  }

  async #discover(client: Client): Promise<ServerMetadata> {
    const { issuer, clientId, ca } = this.#options;
    try {
      const discovered = await client.discovery(new URL(issuer), clientId, undefined, client.None(), {
        [client.customFetch]: httpsFetch(ca) as never,
      });
      return discovered.serverMetadata();
    } catch (error) {
      throw new Problem('oidc_unavailable', { reason: textOf(error), cause: error });
    }
  }

  #authentication(client: Client, { token_endpoint_auth_methods_supported: methods }: ServerMetadata): ClientAuth {
    const isBasic = methods !== undefined && !methods.includes('client_secret_post');
    const secret = this.#options.clientSecret();
    return isBasic ? client.ClientSecretBasic(secret) : client.ClientSecretPost(secret);
  }
}

/** Errors of the network come from `node:https` and have a code of the system or of TLS. */
function failure(error: unknown): Problem {
  const cause = (error as { cause?: unknown }).cause;
  const system = [error, cause].map((each) => (each as NodeJS.ErrnoException | undefined)?.syscall);
  const isNetwork = system.some((call) => call !== undefined) || (error as Error).name === 'TimeoutError';
  return new Problem(isNetwork ? 'oidc_unavailable' : 'oidc_refused', { reason: textOf(error), cause: error });
}

/** Texts of `openid-client`, and of a provider's `error`, name neither codes nor tokens. */
function textOf(error: unknown): string {
  const { message, code, error: name, cause } = error as Error & { code?: unknown; error?: unknown };
  const reason = [message, code, name].filter((part) => typeof part === 'string').join(': ');
  return cause instanceof Error ? `${reason} (${cause.message})` : reason;
}
