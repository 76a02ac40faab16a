/**
 * TLS connections of many identities in one process. All with the same issuers share one OpenSSL context, whose certificate and
 * key are replaced before each connection: a context of its own costs a device 29 KB. An SSL object copies them when it is
 * created (SSL_new), so earlier connections are not affected.
 */

import { isIP, type SocketConstructorOpts } from 'node:net';
import { type ConnectionOptions, connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { leafOf } from '@rollcall/device-sdk/building-blocks';
import { addressOptions } from '@rollcall/protocol';

export interface TlsIdentity {
  readonly keyPem: string;
  /** The leaf alone. */
  readonly certificatePem: string;
  /** The CAs between the leaf and the root. A broker that holds the root alone needs them from the client (RFC 8446, section 4.4.2). */
  readonly issuersPem?: string | undefined;
}

/** Of a chain in PEM, leaf first. */
export function identityOf(keyPem: string, chainPem: string): TlsIdentity {
  const certificatePem = leafOf(chainPem);
  const issuersPem = chainPem.slice(certificatePem.length).trim();
  return { keyPem, certificatePem, ...(issuersPem !== '' && { issuersPem: `${issuersPem}\n` }) };
}

export interface TlsTarget {
  readonly host: string;
  readonly port: number;
  /** In the certificate of the server, for connections through a proxy; `host` without it. */
  readonly servername?: string;
}

export interface TlsConnectionEvents {
  /** TLS is up. */
  readonly secure: () => void;
  /** Decrypted bytes, only valid during the call. */
  readonly data: (bytes: Buffer) => void;
  readonly closed: (cause: string | undefined) => void;
  /** Something that lets the next connection begin where this one did. */
  readonly session?: (session: Buffer) => void;
}

export interface TlsConnectionOptions {
  readonly target: TlsTarget;
  readonly identity: TlsIdentity | undefined;
  readonly session?: Buffer | undefined;
  /** Local address to connect from; each has its own ports. */
  readonly sourceAddress?: string | undefined;
}

/** Read by every connection in turn: what is in it is gone after the call. */
const SHARED_BUFFER_BYTES = 64 * 1024;

/** `leaf`: the broker holds the CAs under its root, as Rollcall does, and each further certificate would only cost it a copy. */
export type ClientChain = 'leaf' | 'full';

/** What Node's SecureContext holds; the calls replace the certificate and the key of later connections. */
type ReplaceableContext = SecureContext & { context: { setCert(pem: string): void; setKey(pem: string): void } };

export class TlsConnector {
  readonly #rootPem: string;
  readonly #clientChain: ClientChain;
  readonly #anonymous: SecureContext;
  /** By the issuers that it sends after the leaf. */
  readonly #contexts = new Map<string, ReplaceableContext>();
  readonly #buffer = Buffer.allocUnsafe(SHARED_BUFFER_BYTES);

  /** `rootPem`: the only authorities whose servers are believed. */
  constructor(rootPem: string, clientChain: ClientChain = 'leaf') {
    this.#rootPem = rootPem;
    this.#clientChain = clientChain;
    this.#anonymous = this.#newContext();
  }

  open({ target, identity, session, sourceAddress }: TlsConnectionOptions, events: TlsConnectionEvents): TLSSocket {
    const name = target.servername ?? target.host;
    const options: ConnectionOptions & Pick<SocketConstructorOpts, 'onread'> & { readonly localAddress?: string } = {
      host: target.host,
      port: target.port,
      ...addressOptions(target.host),
      secureContext: identity === undefined ? this.#anonymous : this.#contextOf(identity),
      checkServerIdentity: () => undefined, // the chain is checked; parsing the name of one server 10,000 times is not
      onread: {
        buffer: this.#buffer,
        callback: (length: number, bytes: Uint8Array) => {
          events.data((bytes as Buffer).subarray(0, length));
          return true;
        },
      },
      ...(isIP(name) === 0 && { servername: name }),
      ...(session !== undefined && { session }),
      ...(sourceAddress !== undefined && { localAddress: sourceAddress }),
    };
    const socket = connect(options);
    socket.setNoDelay(true);
    let cause: string | undefined;
    socket.once('secureConnect', events.secure);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      cause ??= error.code ?? error.message;
    });
    socket.once('close', () => events.closed(cause));
    if (events.session !== undefined) socket.on('session', events.session);
    return socket;
  }

  #contextOf({ certificatePem, issuersPem = '', keyPem }: TlsIdentity): SecureContext {
    const issuers = this.#clientChain === 'full' ? issuersPem : '';
    let context = this.#contexts.get(issuers);
    if (context === undefined) {
      context = this.#newContext() as ReplaceableContext;
      context.context.setCert(certificatePem + issuers);
      this.#contexts.set(issuers, context);
    }
    context.context.setCert(certificatePem); // the issuers stay
    context.context.setKey(keyPem);
    return context;
  }

  #newContext(): SecureContext {
    // TLS 1.2 has no certificate of the client in a resumed session's first flight; 1.3 is what every broker of today speaks.
    return createSecureContext({ minVersion: 'TLSv1.2', ca: this.#rootPem });
  }
}
