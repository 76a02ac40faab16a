/**
 * The credentials of a host that joined the fleet: its own certificate, which it renews, and those of its listeners where it has no keys of
 * the CA. Both come from a node with the role enroll. Listeners' are stored, so that a start needs no other node.
 */

import { createPrivateKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { NODE_PATHS, type NodeCertificateAnswer, type NodeCertificateRequest, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { type NodeProof, type ObtainedCertificate, writeNodeCsr } from '../../enroll/index.ts';
import { askNode } from './node-client.ts';
import { listenerFileIn, type NodeIdentity, nodeFilesIn, readNodeIdentity } from './node-directory.ts';

export interface NodeCredentialsOptions {
  /** Path of the data directory. */
  readonly data: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

const RENEW_AT = 2 / 3;
const CHECK_EVERY_MS = 3_600_000;

export class NodeCredentials {
  readonly #options: NodeCredentialsOptions;
  readonly #timer: NodeJS.Timeout;
  #identity: NodeIdentity;
  #isOfActiveCa: (certificate: X509Certificate) => boolean = () => true;
  #renewing: Promise<void> | undefined;
  readonly #closing = new AbortController();

  /** Undefined when this host has joined no fleet. Throws as `readNodeIdentity`, and Problem `config_invalid` for another name. */
  static open(options: NodeCredentialsOptions, node: string): NodeCredentials | undefined {
    const identity = readNodeIdentity(options.data);
    if (identity === undefined) return undefined;
    if (identity.name !== node) {
      throw new Problem('config_invalid', {
        reason: `node.name: expected ${identity.name}, as which this host has joined, found ${node}`,
      });
    }
    return new NodeCredentials(options, identity);
  }

  private constructor(options: NodeCredentialsOptions, identity: NodeIdentity) {
    this.#options = options;
    this.#identity = identity;
    this.#check();
    this.#timer = setInterval(() => this.#check(), CHECK_EVERY_MS).unref();
  }

  /** Another CA issues from now on. A certificate of one that is retired renews nothing any more. */
  renewUnder(isOfActiveCa: (certificate: X509Certificate) => boolean): void {
    this.#isOfActiveCa = isOfActiveCa;
    this.#check();
  }

  #check(): void {
    this.renewDue().catch((error: unknown) => {
      if (this.#closing.signal.aborted) return;
      this.#options.log.error({ err: error }, 'the certificate of this node could not be renewed');
    });
  }

  /** Its own certificate, at two thirds of its validity or when another CA issues. The timer and a caller share one renewal. */
  renewDue(): Promise<void> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #renew(): Promise<void> {
    const { data, now, log } = this.#options;
    const { certificate } = this;
    if (now() < renewalOf(certificate) && this.#isOfActiveCa(certificate)) return;
    const { privateKey, certificatePem, caPem } = await this.#ask('node');
    const pem = keyPem(privateKey) + certificatePem;
    const files = nodeFilesIn(data);
    replace(files.identity, pem, 0o600);
    replace(files.ca, caPem, 0o644);
    this.#identity = { ...this.#identity, pem, ca: caPem };
    log.info({ notAfter: new X509Certificate(pem).validTo }, 'the certificate of this node was renewed');
  }

  /** Of a listener: the stored one while it is not due, otherwise a new one. `isUsable`: an active CA issued it. */
  async obtain(
    name: 'broker' | 'console',
    isUsable: (certificate: X509Certificate) => boolean,
  ): Promise<ObtainedCertificate> {
    const file = listenerFileIn(nodeFilesIn(this.#options.data).directory, name);
    const stored = readStored(file);
    if (stored !== undefined && this.#options.now() < renewalOf(stored.certificate) && isUsable(stored.certificate)) {
      return stored;
    }
    const { privateKey, certificatePem } = await this.#ask(name);
    const certificate = new X509Certificate(certificatePem);
    if (!isUsable(certificate)) {
      throw new Problem('unavailable', { reason: 'the certificate is of a CA that this node does not know yet' });
    }
    const key = keyPem(privateKey);
    replace(file, key + certificate.toString(), 0o600);
    return { key, certificate };
  }

  /** Its signature of a text, for other nodes. */
  prove(text: string): NodeProof {
    const { pem } = this.#identity;
    const signature = sign('sha256', Buffer.from(text), createPrivateKey(pem));
    return { certificate: this.certificate.toString(), signature: signature.toString('base64') };
  }

  get certificate(): X509Certificate {
    return new X509Certificate(this.#identity.pem);
  }

  /** Nothing is asked for, and nothing written, when it resolves. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#closing.abort();
    await this.#renewing?.catch(() => {});
  }

  async #ask(purpose: NodeCertificateRequest['purpose']): Promise<NodeCertificateAnswer & { privateKey: KeyObject }> {
    const { name, enrollUrl, pem, ca } = this.#identity;
    expectValid(this.certificate, name, this.#options.now());
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const body: NodeCertificateRequest = { purpose, csr: await writeNodeCsr(privateKey, name) };
    const credential = { key: pem, cert: pem };
    const answer = await askNode<NodeCertificateAnswer>({
      ...{ url: enrollUrl, path: NODE_PATHS.certificate, rootsPem: ca, credential, body },
      stopped: this.#closing.signal,
    });
    return { ...answer, privateKey };
  }
}

/** No node answers for a certificate that has ended. */
function expectValid({ validToDate }: X509Certificate, node: string, now: number): void {
  if (now < validToDate.getTime()) return;
  const [ended, here] = [validToDate.toISOString(), new Date(now).toISOString()];
  throw new Problem('node_certificate_expired', {
    reason: `that of ${node} ended ${ended}, and the clock of this host has ${here}: it was off, or reached no node with the role enroll, for too long`,
    hint:
      'set the clock if it is wrong; otherwise make a token on another node with "rollcall node token", and run "rollcall node join" here with a ' +
      'new data directory',
  });
}

function renewalOf({ validFromDate, validToDate }: X509Certificate): number {
  const from = validFromDate.getTime();
  return from + (validToDate.getTime() - from) * RENEW_AT;
}

function readStored(file: string): ObtainedCertificate | undefined {
  try {
    const text = readFileSync(file, 'utf8');
    const certificate = new X509Certificate(text);
    const key = createPrivateKey(text);
    return certificate.checkPrivateKey(key) ? { key: keyPem(key), certificate } : undefined;
  } catch {
    return undefined; // There is none, or a crash has left it incomplete: another one is obtained.
  }
}

function keyPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function replace(file: string, text: string, mode: number): void {
  const temporary = `${file}.new`;
  rmSync(temporary, { force: true });
  writeFileSync(temporary, text, { mode, flag: 'wx', flush: true });
  renameSync(temporary, file);
}
