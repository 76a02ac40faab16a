/**
 * How the keys of issuing CAs reach all nodes with the role enroll. A node that lacks one asks a node that has it; the request is signed by a
 * key that the database does not have: that of a CA whose key both nodes have already. Keys of roots and keys in a PKCS#11 token stay where
 * they are. Who is asked, and when, is the caller's.
 */

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { nodeUri, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Actor, IssuerRecord, NodeStore, Registry } from '../../registry/index.ts';
import type { CaDirectory, CaName } from '../ca/ca-directory.ts';
import { type CaSet, caId, type IssuingCa } from '../ca/ca-set.ts';
import type { KeyStore } from '../ca/key-store.ts';
import { keySigner, type Signer } from '../ca/signer.ts';
import { serialOf } from '../est/client-certificate.ts';
import { readIssuer } from '../x509/certificate-check.ts';
import {
  answerText,
  boundText,
  type CaKeyAnswer,
  type CaKeyRefusal,
  type CaKeyRequest,
  isSignedBy,
  KEY_FILE,
  type NodeProof,
  publicKeyOf,
  readAnswer,
  readRequest,
  refusal,
  requestText,
} from './ca-key-request.ts';
import { createTransferKey, decryptKeys, encryptKeys } from './key-transfer.ts';

/** What the server knows of the nodes of the fleet. */
export interface SharingFleet {
  /** The name of this node. */
  readonly node: string;
  readonly registry: Pick<NodeStore, 'findNodeByCertificate' | 'listNodeCertificates'>;
  /** Whether there is a node of this name that has the role enroll and was not removed. */
  isEnrolling(node: string): Promise<boolean>;
  /** Signs by the key of this node's certificate; undefined for one that joined by no token. */
  prove(text: string): NodeProof | undefined;
}

export interface CaKeySharingOptions extends SharingFleet {
  readonly trustDomain: string;
  readonly cas: () => CaSet;
  readonly directory: CaDirectory;
  readonly keys: KeyStore;
  readonly audit: Pick<Registry, 'recordAction'>;
  /** Uses the keys that are on this machine now. */
  readonly onStored: () => Promise<void>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

export interface AskedCaKey {
  /** For the node that is asked. */
  readonly request: CaKeyRequest;
  /** Stores the key. Throws Problem `ca_key_refused` for an answer that is none to this request, or has another key. */
  accept(answer: unknown): Promise<void>;
}

export interface CaKeySharing {
  /** Ids of the CAs whose keys this node needs and does not have, the active one first. */
  missing(): readonly string[];
  /** Throws Problem `ca_key_refused` when this node has no key by which it could ask. */
  ask(ca: string, to: string): Promise<AskedCaKey>;
  /** Answers another node. What is sent is in the audit before. */
  answer(request: unknown): Promise<CaKeyAnswer | CaKeyRefusal>;
}

/** A request may be so old, and clocks of nodes differ by so much, in ms. */
const FRESH_MS = 300_000;

/** A node that is refused asks again and again: one of its requests in this time is in the audit, and each is in the log. */
const REFUSAL_AUDITED_EVERY_MS = 3_600_000;
/** Names in a request that nobody signed are anybody's: no more of them are in the audit in that time. */
const REFUSALS_AUDITED = 100;

/** Keys of CAs in these states are sent, and sign requests: the key of a tainted CA may be somebody else's as well. */
const SHARED: ReadonlySet<IssuerRecord['state']> = new Set(['prepared', 'active', 'outgoing'] as const);

export function createCaKeySharing(options: CaKeySharingOptions): CaKeySharing {
  const { node, cas, directory, keys, audit, now, log } = options;
  const actor: Actor = `server/${node}`;
  const shared = () => cas().issuing.filter(({ record }) => SHARED.has(record.state));
  const requests = new AnsweredRequests(now);
  /** Stored, and not in use yet. */
  const stored = new Set<string>();
  /** By CA and node: until when no other refusal is in the audit. */
  const refusals = new Map<string, number>();

  /** Whether the refusal is recorded: from now on no other one of this node and CA is. */
  const takeRecord = ({ ca, node: asking }: CaKeyRequest): boolean => {
    const time = now();
    for (const [key, until] of refusals) if (until < time) refusals.delete(key);
    const key = `${ca}/${asking}`;
    if (refusals.has(key) || refusals.size >= REFUSALS_AUDITED) return false;
    refusals.set(key, time + REFUSAL_AUDITED_EVERY_MS);
    return true;
  };

  /** The key that was asked for, and the one by which the request is signed. */
  const admit = async (request: CaKeyRequest): Promise<{ readonly key: KeyObject; readonly signer: Signer }> => {
    // 1. It is from a node that has the key of a CA; both are compared with what is on this machine, and not in the database.
    if (request.to !== node || request.node === node) throw refusal(`expected a request to ${node}`);
    const signer = shared().find(({ id }) => id === request.by)?.signer;
    if (signer === undefined) throw refusal(`the key of CA ${request.by} is not here, or the CA is not in use`);
    if (request.ca === request.by) throw refusal('the node has this key');
    if (!isSignedBy(publicKeyOf(signer.publicKeySpki), requestText(request), request.signature)) {
      throw refusal(`the signature is not by the key of CA ${request.by}`);
    }
    requests.expectNew(request);

    // 2. The fleet has this node, and it may have keys.
    if (!(await options.isEnrolling(request.node))) {
      throw refusal(`there is no node ${request.node} with the role enroll`);
    }
    await expectIdentity(request, shared(), options);

    // 3. The key is here, and can be sent.
    const wanted = shared().find(({ id }) => id === request.ca)?.signer;
    if (wanted === undefined) throw refusal(`the key of CA ${request.ca} is not here, or the CA is not in use`);
    if (wanted.exportKey === undefined) throw refusal('the key is in a PKCS#11 token');
    return { key: wanted.exportKey(), signer };
  };

  const answer = async (request: CaKeyRequest): Promise<CaKeyAnswer> => {
    const { key, signer } = await admit(request);
    const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
    const encrypted = encryptKeys({ [KEY_FILE]: pem }, request.transferKey, boundText(request));
    const details = { to: request.node, from: node, by: request.by };
    await audit.recordAction({ actor, action: 'ca.key.sent', subject: `ca/${request.ca}`, outcome: 'done', details });
    log.warn({ ca: request.ca, to: request.node }, 'the key of a CA is sent to another node');
    return { encrypted, signature: await signed(signer, answerText(request, encrypted)) };
  };

  const refused = async (request: CaKeyRequest | undefined, reason: string): Promise<void> => {
    log.warn({ node: request?.node, ca: request?.ca, reason }, 'the key of a CA was not sent');
    if (request === undefined || !cas().records.some(({ id }) => id === request.ca) || !takeRecord(request)) return;
    const details = { to: request.node, from: node, reason };
    await audit.recordAction({
      ...{ actor, action: 'ca.key.sent', subject: `ca/${request.ca}`, outcome: 'refused' as const, details },
    });
  };

  return {
    missing: () => {
      if (!keys.takesKeys) return [];
      const lacking = shared().filter(({ id, signer }) => signer === undefined && !stored.has(id));
      return lacking.map(({ id }) => id);
    },
    ask: async (ca, to) => {
      const by = shared().find(({ signer }) => signer !== undefined);
      if (by?.signer === undefined) {
        throw refusal('this node has no key of a CA that is in use and not tainted: have it join again');
      }
      const { signer } = by;
      const transfer = createTransferKey();
      const unsigned = { ca, node, to, transferKey: transfer.publicKey, at: now(), by: by.id };
      const text = requestText(unsigned);
      const identity = options.prove(text);
      const request = { ...unsigned, signature: await signed(signer, text), ...(identity && { identity }) };
      return {
        request,
        accept: async (found) => {
          const { encrypted, signature } = readAnswer(found);
          if (!isSignedBy(publicKeyOf(signer.publicKeySpki), answerText(request, encrypted), signature)) {
            throw refusal(`the answer is not signed by the key of CA ${by.id}`);
          }
          const wanted = cas().issuing.find(({ id }) => id === ca);
          if (wanted === undefined) throw refusal(`CA ${ca} is not in use any more`);
          const key = keyOf(decryptKeys(encrypted, transfer, boundText(request))[KEY_FILE], wanted);
          await keys.store(await nameFor(wanted, directory), key);
          stored.add(ca);
          log.warn({ ca, from: to }, 'another node sent the key of a CA');
          await options.onStored();
        },
      };
    },
    answer: async (found) => {
      let request: CaKeyRequest | undefined;
      try {
        request = readRequest(found);
        return await answer(request);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        const reason = error.reason ?? error.code;
        await refused(request, reason);
        return { refused: reason };
      }
    },
  };
}

/** Each request is answered once. Those that a former process answered reach nobody: their private keys are gone. */
class AnsweredRequests {
  readonly #now: () => number;
  readonly #answered = new Map<string, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  expectNew({ transferKey, at }: CaKeyRequest): void {
    const now = this.#now();
    for (const [key, until] of this.#answered) if (until < now) this.#answered.delete(key);
    if (Math.abs(now - at) > FRESH_MS) {
      throw refusal(`the request is of ${new Date(at).toISOString()}, and it is ${new Date(now).toISOString()} here`);
    }
    if (this.#answered.has(transferKey)) throw refusal('the request was answered before');
    this.#answered.set(transferKey, at + FRESH_MS);
  }
}

/** A node that joined by a token proves its name as well: by its certificate, which its removal revokes. */
async function expectIdentity(
  request: CaKeyRequest,
  issuing: readonly IssuingCa[],
  { registry, trustDomain, now }: CaKeySharingOptions,
): Promise<void> {
  const { node, identity } = request;
  if (identity === undefined) {
    const joined = await registry.listNodeCertificates();
    if (joined.some(({ name }) => name === node)) throw refusal(`expected the certificate of ${node}, found none`);
    return;
  }
  const certificate = readCertificate(identity.certificate);
  const issuer = issuing.find(({ signer }) => signer && certificate.verify(publicKeyOf(signer.publicKeySpki)));
  const isValid = certificate.validFromDate.getTime() <= now() && now() < certificate.validToDate.getTime();
  if (issuer === undefined || !isValid || certificate.subjectAltName !== `URI:${nodeUri(trustDomain, node)}`) {
    throw refusal(`expected the certificate of ${node}, valid now and of a CA in use whose key is here`);
  }
  const joined = await registry.findNodeByCertificate(serialOf(certificate));
  if (joined?.name !== node || !joined.roles.includes('enroll')) {
    throw refusal(`the certificate is not a good one of ${node} with the role enroll`);
  }
  if (!isSignedBy(certificate.publicKey, requestText(request), identity.signature)) {
    throw refusal(`the signature is not by the key of ${node}`);
  }
}

function readCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw refusal('expected a certificate in PEM');
  }
}

async function signed(signer: Signer, text: string): Promise<string> {
  return (await signer.sign(Buffer.from(text))).toString('base64');
}

/** Throws Problem `ca_key_refused` for the key of another CA. */
function keyOf(pem: string | undefined, { id, publicKeySpki }: IssuingCa): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem ?? '');
  } catch {
    throw refusal('expected a private key in PEM');
  }
  if (!keySigner(key).publicKeySpki.equals(publicKeySpki)) throw refusal(`the key is not that of CA ${id}`);
  return key;
}

/** The certificate first: a key without one is left over from an interrupted preparation, and the next preparation uses it. */
async function nameFor({ id, der, record }: IssuingCa, directory: CaDirectory): Promise<CaName> {
  const [certificates, keyFiles, uris] = await Promise.all([
    directory.names('pem'),
    directory.names('key'),
    directory.names('uri'),
  ]);
  for (const name of certificates) {
    if (!name.startsWith('issuing') || keyFiles.includes(name) || uris.includes(name)) continue;
    const found = await directory.readCertificate(name);
    if (found !== undefined && caId(readIssuer(found).publicKeySpki) === id) return name;
  }
  const name = directory.newName('issuing');
  await directory.writeCertificate(name, der, record.chain);
  return name;
}
