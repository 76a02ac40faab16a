/** Signs operators in with an identity provider, at a limited rate: each answer costs a request to it. Audited as every sign-in. */

import { asProblem, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { networkOf, type RefusalLog, TokenBuckets } from '../../../limits/index.ts';
import type { BegunOperatorSession, Registry } from '../../../registry/index.ts';
import type { OperatorSignIn, SignInClient } from '../operator-sign-in.ts';
import { IdentityProvider } from './identity-provider.ts';
import type { OidcOptions } from './oidc-options.ts';
import type { OidcTransaction } from './transaction-cookie.ts';

/** Per network: a burst of twenty, and one more every three seconds. */
const SIGN_INS = { perSecond: 1 / 3, burst: 20, keys: 1_000 };

export interface OidcSignInOptions {
  readonly oidc: OidcOptions;
  readonly signIn: OperatorSignIn;
  readonly registry: Registry;
  readonly now: () => number;
  readonly log: Logger;
  readonly refusalLog: RefusalLog;
}

export class OidcSignIn {
  readonly #options: OidcSignInOptions;
  readonly #provider: IdentityProvider;
  readonly #signIns = new TokenBuckets(SIGN_INS);

  constructor(options: OidcSignInOptions) {
    this.#options = options;
    this.#provider = new IdentityProvider({ ...options.oidc, now: options.now, log: options.log });
  }

  /** Where to send the browser. Problem `oidc_unavailable`. */
  begin(transaction: OidcTransaction, redirectUri: string, client: SignInClient): Promise<string> {
    return this.#reported(client, () => this.#provider.authorizationUrl(transaction, redirectUri));
  }

  /** Problem `oidc_refused`, `oidc_no_access`, `oidc_unavailable`, `operator_disabled` or `rate_limited`. */
  end(transaction: OidcTransaction, answerUrl: URL, client: SignInClient): Promise<BegunOperatorSession> {
    const { oidc, registry, signIn, now } = this.#options;
    return this.#reported(client, async () => {
      const wait = this.#signIns.take(networkOf(client.address), now());
      if (wait > 0) throw new Problem('rate_limited', { retryAfter: Math.ceil(wait) });
      const { subject, name, role, authenticatedAt } = await this.#provider.account(transaction, answerUrl);
      const identity = { issuer: this.#provider.issuer, subject };
      const operator = await registry.operatorOfIdentity(identity, { name, role, operators: oidc.operators });
      const usual = signIn.sessionOrder(operator.name, { method: 'oidc' }, client);
      const begun = await registry.beginOperatorSession({
        ...usual,
        lifetimeMs: Math.min(usual.lifetimeMs, oidc.sessionMs),
        // Without a time the provider may have known the browser for days: that is no recent sign-in.
        authenticatedAt: Math.min(authenticatedAt ?? 0, now()),
      });
      if (begun === undefined) throw new Problem('oidc_refused', { reason: 'the session could not begin' });
      return begun;
    });
  }

  /** Logs why, and leaves to the browser only what it may know. */
  async #reported<Value>({ address }: SignInClient, work: () => Promise<Value>): Promise<Value> {
    const { log, refusalLog } = this.#options;
    try {
      return await work();
    } catch (error) {
      const problem = asProblem(error);
      const { code, reason, message } = problem;
      refusalLog.write(log, 'warn', address, { address, code, reason: reason ?? message }, 'OIDC sign-in refused');
      if (code === 'operator_unknown' || code === 'operator_exists')
        throw new Problem('oidc_no_access', { cause: error });
      if (code === 'request_invalid') throw new Problem('oidc_refused', { cause: error });
      throw problem;
    }
  }
}
