import { type Identity, identityName, identityUri } from '@rollcall/protocol';
import type { CheckedCsr } from './csr.ts';

/**
 * Why the names do not agree, or undefined. `identity` is undefined when the server is about to choose one: then a
 * common name is only what the device calls itself, but an alternative name asks for something it cannot have.
 */
export function identityMismatch(
  csr: CheckedCsr,
  trustDomain: string,
  identity: Identity | undefined,
): string | undefined {
  const [alternativeName] = csr.alternativeNames;
  if (identity === undefined) {
    return alternativeName === undefined ? undefined : 'expected no alternative name where the server chooses the id';
  }
  const name = identityName(identity);
  if (csr.commonNames.some((asked) => asked !== name)) return 'expected the decided id as common name, or none';
  const own = `url:${identityUri(trustDomain, identity)}`;
  if (csr.alternativeNames.some((asked) => asked !== own))
    return "expected the identity's own URI, or no alternative name";
  return undefined;
}
