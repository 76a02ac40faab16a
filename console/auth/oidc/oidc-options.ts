/** How operators sign in with an identity provider, and what the claims of an account mean here. */

import type { OperatorRole } from '../../../registry/index.ts';

export interface OidcOptions {
  /** URL of the provider, as its ID tokens name it; `https:`. */
  readonly issuer: string;
  readonly clientId: string;
  /** Read at each sign-in, so that it can be rotated. */
  readonly clientSecret: () => string;
  /** `openid` is among them. */
  readonly scopes: readonly string[];
  /** Claim with the name of the operator. */
  readonly nameClaim: string;
  /** Claim with a text or a list of texts; a name with dots also leads into objects: `realm_access.roles`. */
  readonly roleClaim: string;
  /** Values of that claim by the role that they give. An account without any of them has no access. */
  readonly roles: Readonly<Record<OperatorRole, readonly string[]>>;
  /** Claims that an account must have, each with one of these values. */
  readonly require: Readonly<Record<string, readonly string[]>>;
  /** `create`: the first sign-in of an account adds its operator. `existing`: only operators that were added before. */
  readonly operators: 'create' | 'existing';
  /** Milliseconds after which a session that began so ends. */
  readonly sessionMs: number;
  /** PEM, in place of the CAs of the system. */
  readonly ca?: string | undefined;
}
