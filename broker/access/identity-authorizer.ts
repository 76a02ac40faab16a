/**
 * Decides on the identity of a connection: the status of its certificate in the registry, the name in it, and the policy. What a registry or a
 * policy that cannot be read would allow is refused.
 */

import { formatIdentity, type Identity, identityUri, parseIdentityUri } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { CertificateStatus } from '../../registry/index.ts';
import type { ConnectFailure } from '../events.ts';
import type { PendingConnection } from '../listener/pending-connection.ts';
import type { Rights, Subject } from './acl.ts';
import type { PeerCertificate } from './peer-certificate.ts';
import type { PolicyResolver } from './policy-resolver.ts';

/** The part of the registry that the authorizer asks. */
export interface CertificateStatusDirectory {
  certificateStatus(serial: string): Promise<CertificateStatus>;
  /** A renewed certificate passed every check for the first time and supersedes its predecessor. True: a status changed. */
  recordFirstUse(serial: string): Promise<boolean>;
}

export interface IdentityAuthorizerOptions {
  readonly trustDomain: string;
  readonly directory: CertificateStatusDirectory;
  readonly policies: PolicyResolver;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** The outcome of the checks of certificate, registry and policy. */
export interface Authorization {
  readonly subject: Subject;
  readonly rights: Rights;
  readonly notAfter: number;
  readonly isUnused: boolean;
}

export class IdentityAuthorizer {
  readonly #options: IdentityAuthorizerOptions;

  constructor(options: IdentityAuthorizerOptions) {
    this.#options = options;
  }

  /** Undefined: the connection is refused. */
  async authorize(pending: PendingConnection, peer: PeerCertificate): Promise<Authorization | undefined> {
    const status = await this.#certificateStatusOf(peer.serial);
    if (status !== undefined && status.state !== 'unknown') pending.identity = status.holder;
    const refusal = statusRefusal(status);
    if (refusal !== undefined || !isUsable(status)) {
      pending.refuse(refusal ?? 'suspended');
      return undefined;
    }
    const { holder, group, labels, notAfter } = status;
    if (!this.#isNamedAs(peer, holder)) {
      pending.refuse('identity_mismatch', formatIdentity(holder));
      return undefined;
    }
    if (notAfter <= this.#options.now()) {
      pending.refuse('certificate_expired');
      return undefined;
    }
    const isQuarantined = status.state === 'quarantined';
    const subject: Subject = { identity: holder, group, labels, ...(isQuarantined && { isQuarantined }) };
    const rights = await this.#rightsOf(subject);
    if (rights === undefined) {
      pending.refuse('policy_failed');
      return undefined;
    }
    return { subject, rights, notAfter, isUnused: status.isUnused ?? false };
  }

  /** Whether the certificate names the holder that the registry has for it. */
  #isNamedAs(peer: PeerCertificate, holder: Identity): boolean {
    const { trustDomain } = this.#options;
    const uri = identityUri(trustDomain, holder);
    // A name that could stand for a topic filter is refused even if the fleet's own CA signed it.
    return parseIdentityUri(trustDomain, uri) !== undefined && peer.san === `URI:${uri}`;
  }

  /** Undefined when the registry cannot answer. */
  async #certificateStatusOf(serial: string): Promise<CertificateStatus | undefined> {
    try {
      return await this.#options.directory.certificateStatus(serial);
    } catch (error) {
      this.#options.log.error({ err: error, serial }, 'certificate status could not be read');
      return undefined;
    }
  }

  async #rightsOf(subject: Subject): Promise<Rights | undefined> {
    try {
      return await this.#options.policies.rightsOf(subject);
    } catch (error) {
      this.#options.log.error({ err: error, identity: formatIdentity(subject.identity) }, 'policy could not be read');
      return undefined;
    }
  }
}

type UsableStatus = Extract<CertificateStatus, { readonly state: 'good' | 'quarantined' }>;

function isUsable<Status extends CertificateStatus>(status: Status | undefined): status is Status & UsableStatus {
  return status?.state === 'good' || status?.state === 'quarantined';
}

function statusRefusal(status: CertificateStatus | undefined): ConnectFailure | undefined {
  if (status === undefined) return 'registry_failed';
  switch (status.state) {
    case 'unknown':
      return 'serial_unknown';
    case 'revoked':
      return status.reason === 'superseded' ? 'superseded' : 'revoked';
    case 'superseded':
      return 'superseded';
    default:
      return undefined;
  }
}
