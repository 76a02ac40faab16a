/**
 * What the audit says of the request behind an act of an operator, beside the actor. The console runs each request of
 * the network inside `runWithOrigin()`; every implementation of the registry adds `originDetails()` to the entries that it writes
 * meanwhile, also those of another module.
 */

import { AsyncLocalStorage } from 'node:async_hooks';

export interface RequestOrigin {
  /** Id of the API key; undefined for the operator key of the machine, a certificate and a session. */
  readonly apiKey: string | undefined;
  /** Of an operator who signed in: the id of the session, and how. */
  readonly session?: { readonly id: string; readonly method: string };
  /** Of a client certificate of the operator: its serial, lower-case hexadecimal. */
  readonly certificate?: string;
  /** Of the client. */
  readonly address: string;
}

const current = new AsyncLocalStorage<RequestOrigin>();

/** Runs `work`, and what it starts, as the request that came from there. */
export function runWithOrigin<Result>(origin: RequestOrigin, work: () => Result): Result {
  return current.run(origin, work);
}

/** `apiKey`, `certificate`, or `session` and `signedInBy`, and `fromAddress`, where a request of the network causes the entry. */
export function originDetails(actor: string): Readonly<Record<string, string>> {
  const origin = current.getStore();
  if (origin === undefined || !actor.startsWith('operator/')) return {};
  const { address, apiKey, session, certificate } = origin;
  return {
    fromAddress: address,
    ...(apiKey !== undefined && { apiKey }),
    ...(certificate !== undefined && { certificate }),
    ...(session !== undefined && { session: session.id, signedInBy: session.method }),
  };
}
