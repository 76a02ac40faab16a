/**
 * What a node with the role enroll that lacks the key of a CA asks another one, and what it gets: JSON that goes through the database, which
 * proves nothing and is secret from nobody. Both sides sign with the key of a CA that both have; the key of the CA is encrypted to a key that
 * exists for this request alone.
 */

import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type EncryptedKeys, Problem } from '@rollcall/protocol';

export interface CaKeyRequest {
  /** The id of the CA whose key is asked for. */
  readonly ca: string;
  /** Who asks, and who is asked. */
  readonly node: string;
  readonly to: string;
  /** SPKI of an EC key on P-256, base64. */
  readonly transferKey: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The CA by whose key both sides sign. */
  readonly by: string;
  /** By the key of that CA, base64. */
  readonly signature: string;
  /** Of a node that joined by a token. */
  readonly identity?: NodeProof | undefined;
}

/** A signature by the key of a node's certificate. */
export interface NodeProof {
  /** PEM. */
  readonly certificate: string;
  /** Base64. */
  readonly signature: string;
}

export interface CaKeyAnswer {
  /** `KEY_FILE` alone. */
  readonly encrypted: EncryptedKeys;
  /** By the key of the CA that signed the request, base64. */
  readonly signature: string;
}

export interface CaKeyRefusal {
  readonly refused: string;
}

/** The name of the key in what is encrypted. */
export const KEY_FILE = 'issuing.key';

const CA_ID = /^[0-9a-f]{40}$/;
const NAME_AT_MOST = 64;
const TEXT_AT_MOST = 8_192;

/** What is signed of a request. It begins as no DER does, so that it is no certificate and no CRL. */
export function requestText({ ca, node, to, transferKey, at, by }: Omit<CaKeyRequest, 'signature'>): string {
  return JSON.stringify(['rollcall: request for the key of a CA, 1', ca, node, to, transferKey, at, by]);
}

/** What is signed of an answer. */
export function answerText(request: Omit<CaKeyRequest, 'signature'>, { senderKey, nonce, ciphertext }: EncryptedKeys) {
  return JSON.stringify(['rollcall: key of a CA, 1', requestText(request), senderKey, nonce, ciphertext]);
}

/** What the encryption is bound to. */
export function boundText({ ca, node, to, by }: Omit<CaKeyRequest, 'signature'>): string {
  return JSON.stringify(['rollcall: key of a CA, 1', ca, node, to, by]);
}

/** Of a text, by the key of a CA or of a node. */
export function isSignedBy(publicKey: KeyObject, text: string, signature: string): boolean {
  try {
    return verify('sha256', Buffer.from(text), publicKey, Buffer.from(signature, 'base64'));
  } catch {
    return false;
  }
}

export function publicKeyOf(spki: Buffer): KeyObject {
  return createPublicKey({ key: spki, format: 'der', type: 'spki' });
}

/** Throws Problem `ca_key_refused`. */
export function readRequest(found: unknown): CaKeyRequest {
  const { ca, node, to, transferKey, at, by, signature, identity } = object(found);
  const read = {
    ...{
      ca: idOf(ca),
      node: textOf(node, NAME_AT_MOST),
      to: textOf(to, NAME_AT_MOST),
      transferKey: textOf(transferKey),
    },
    ...{ at: timeOf(at), by: idOf(by), signature: textOf(signature) },
  };
  if (identity === undefined) return read;
  const proof = object(identity);
  return { ...read, identity: { certificate: textOf(proof.certificate), signature: textOf(proof.signature) } };
}

/** Throws Problem `ca_key_refused`, with the reason of the other node when it refused. */
export function readAnswer(found: unknown): CaKeyAnswer {
  const { encrypted, signature, refused } = object(found);
  if (typeof refused === 'string') throw refusal(refused.slice(0, TEXT_AT_MOST));
  const { senderKey, nonce, ciphertext } = object(encrypted);
  return {
    encrypted: { senderKey: textOf(senderKey), nonce: textOf(nonce), ciphertext: textOf(ciphertext) },
    signature: textOf(signature),
  };
}

export function refusal(reason: string): Problem {
  return new Problem('ca_key_refused', { reason });
}

function object(found: unknown): Readonly<Record<string, unknown>> {
  if (typeof found === 'object' && found !== null && !Array.isArray(found)) return found as Record<string, unknown>;
  throw refusal('expected a JSON object');
}

function textOf(value: unknown, most = TEXT_AT_MOST): string {
  if (typeof value === 'string' && value.length > 0 && value.length <= most) return value;
  throw refusal('expected a text');
}

function idOf(value: unknown): string {
  if (typeof value === 'string' && CA_ID.test(value)) return value;
  throw refusal('expected the id of a CA');
}

function timeOf(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
  throw refusal('expected a time');
}
