/** What a host that becomes a node of a fleet asks an EST server, and what it gets. JSON over the same TLS as EST. */

/** `join`: with a node token, as the password of HTTP Basic beside the node's name. `certificate`: with the node's certificate. */
export const NODE_PATHS = {
  join: '/.well-known/rollcall/node',
  certificate: '/.well-known/rollcall/node/certificate',
} as const;

export const NODE_ROLES = ['mqtt', 'enroll', 'console'] as const;
export type NodeRole = (typeof NODE_ROLES)[number];

/** As names of devices; it is part of names of leases and of lanes. */
export const NODE_NAME: RegExp = /^[a-z0-9][a-z0-9.-]{0,62}$/;
export const NODE_NAME_RULE = '1 to 63 of a-z 0-9 . -, the first a letter or a digit';

export interface NodeJoinRequest {
  readonly roles: readonly NodeRole[];
  /** Names and addresses of its listeners, at most 32: the only ones for which it gets server certificates. */
  readonly hosts: readonly string[];
  /** PKCS#10, base64 of DER, of the key that the node has made. */
  readonly csr: string;
  /** What PostgreSQL stores of the password that the node has made (RFC 5803): the password itself is not sent. */
  readonly passwordVerifier: string;
  /** SPKI of an EC key on P-256 that exists for this request alone, base64: keys of CAs are encrypted to it. */
  readonly transferKey: string;
}

/** PEM everywhere. */
export interface NodeJoinAnswer {
  /** Chain of the node's certificate, leaf first. */
  readonly certificatePem: string;
  /** The trust bundle. */
  readonly caPem: string;
  readonly trustDomain: string;
  readonly store: {
    /** With the role that was made for the node, and without a password. */
    readonly url: string;
    /** CAs of the database; undefined: those of the system, or no TLS. */
    readonly caPem: string | undefined;
    readonly schema: string;
    readonly standbys: number;
    readonly connections: number;
    /** Where wakes go, if not by the database; its credentials are not sent. */
    readonly wakes: { readonly url: string; readonly subject: string } | undefined;
  };
  /** Of the node that answers. */
  readonly ports: { readonly enroll: number; readonly mqtt: number; readonly console: number };
  /** Milliseconds; 0: telemetry is not removed by its age. */
  readonly retentionAge: number;
  /** For the role enroll. */
  readonly authority: NodeAuthority | undefined;
}

export interface NodeAuthority {
  /** Where the fleet has its keys: in a token of PKCS#11 they are not sent. */
  readonly home: 'file' | 'pkcs11';
  /** Files of `ca/` that hold no key, by name. */
  readonly files: Readonly<Record<string, string>>;
  /** Encrypted to the key of the request: files of `ca/` by name, as JSON. */
  readonly keys: EncryptedKeys | undefined;
}

/** ECDH on P-256, HKDF with SHA-256, AES-256-GCM. Base64 everywhere. */
export interface EncryptedKeys {
  /** SPKI of the sender's key, which exists for this answer alone. */
  readonly senderKey: string;
  readonly nonce: string;
  /** With the tag of 16 bytes at its end. */
  readonly ciphertext: string;
}

export interface NodeCertificateRequest {
  /** `node`: its own, with a new key. */
  readonly purpose: 'node' | 'broker' | 'console';
  /** PKCS#10, base64 of DER. */
  readonly csr: string;
}

export interface NodeCertificateAnswer {
  readonly certificatePem: string;
  readonly caPem: string;
}

/** Size limits of a request and of an answer, bytes. */
export const NODE_REQUEST_MAX = 16_384;
export const NODE_ANSWER_MAX = 262_144;

/** The name in the certificate of a node, which is that of no device, service or operator. */
export function nodeUri(trustDomain: string, name: string): string {
  return `spiffe://${trustDomain}/server/node/${name}`;
}
