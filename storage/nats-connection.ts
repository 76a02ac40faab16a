/** One connection to one server of NATS, which does not connect again by itself. Its client is loaded with the first connection. */

import type { ConnectionOptions, NatsConnection } from '@nats-io/transport-node';

export interface NatsTls {
  /** PEM; the authorities of the system without it. */
  readonly ca?: string | undefined;
  /** PEM, the chain leaf first, and its key: only where the server asks for them. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** Secrets come from functions, which are called at each connection. */
export interface NatsCredentials {
  readonly user?: string | undefined;
  readonly password?: (() => string) | undefined;
  readonly token?: (() => string) | undefined;
  /** Contents of a `.creds` file. */
  readonly credentials?: (() => string) | undefined;
  /** Seed of an nkey, `SU...`. */
  readonly nkey?: (() => string) | undefined;
}

export interface NatsConnectOptions extends NatsCredentials {
  /** `host:port`. */
  readonly server: string;
  /** Undefined is plaintext: only to this machine. */
  readonly tls: NatsTls | undefined;
  /** For connecting, ms. */
  readonly timeout: number;
}

/** Rejects with an error of the client. `more`: what only one kind of use needs. */
export async function connectToNats(
  { server, tls, timeout, user, password, token, credentials, nkey }: NatsConnectOptions,
  more: ConnectionOptions = {},
): Promise<NatsConnection> {
  const { connect, credsAuthenticator, nkeyAuthenticator } = await import('@nats-io/transport-node');
  const [creds, seed] = [credentials?.(), nkey?.()];
  return connect({
    servers: server,
    name: 'rollcall',
    reconnect: false, // the caller knows when to try again
    timeout,
    ignoreClusterUpdates: true, // a server that names others must not send us to where nobody checked
    ...(tls !== undefined && { tls: tlsOf(tls, server) }),
    ...(user !== undefined && { user }),
    ...(password !== undefined && { pass: password() }),
    ...(token !== undefined && { token: token() }),
    ...(creds !== undefined && { authenticator: credsAuthenticator(new TextEncoder().encode(creds)) }),
    ...(seed !== undefined && { authenticator: nkeyAuthenticator(new TextEncoder().encode(seed)) }),
    ...more,
  });
}

/**
 * With the host, by which the certificate's names are checked: the client names none for an address, and Node would look for
 * `localhost` in its place.
 */
function tlsOf({ ca, cert, key }: NatsTls, server: string) {
  const host = new URL(`tls://${server}`).hostname.replace(/^\[(.*)\]$/, '$1');
  return {
    host,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
}
