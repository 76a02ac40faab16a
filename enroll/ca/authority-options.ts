/** The settings of a certificate authority, and the check of those that appear in certificates. */

import type { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { isTrustDomain, Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { IssuerStore, NodeStore, PublishedStatusStore, Registry } from '../../registry/index.ts';
import type { SharingFleet } from '../nodes/ca-key-sharing.ts';
import type { Lifetimes, RandomBytes, StatusUrls } from '../x509/profile.ts';
import type { CredentialFiles } from './credential-files.ts';
import type { KeySettings } from './key-store.ts';
import type { ObtainedCertificate, ServerName } from './server-certificates.ts';

export interface AuthorityOptions {
  /** The directory of CA keys and certificates; created (0700) when it does not exist. */
  readonly directory: string;
  readonly trustDomain: string;
  /** DNS names and IP addresses of this server; at least one. */
  readonly hosts: readonly string[];
  /** CRL, OCSP and CA certificate URLs that are written into certificates; none unless given. */
  readonly statusUrls?: ((issuerId: string) => StatusUrls) | undefined;
  /** Plain files unless given. */
  readonly keys?: KeySettings | undefined;
  /** Server certificates that another CA issues, by server. */
  readonly serverFiles?: Partial<Record<ServerName, CredentialFiles>> | undefined;
  readonly lifetimes: Lifetimes;
  readonly registry: IssuerStore &
    PublishedStatusStore &
    Pick<Registry, 'recordServerCertificate' | 'nextCrlNumber' | 'recordAction'>;
  /** Of a fleet with nodes that joined: their certificates, for what expires. */
  readonly nodeCertificates?: NodeStore['listNodeCertificates'] | undefined;
  /** Of a node without keys of the CAs: it issues nothing, and another node issues the certificates of these servers. */
  readonly remote?: RemoteAuthority | undefined;
  /** Other nodes change CAs as well: the key of a new one may be on another node, and all trust it before it signs. */
  readonly sharesRegistry?: boolean | undefined;
  /** Keys of CAs go from node to node. */
  readonly sharing?: SharingFleet | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
  readonly randomBytes?: RandomBytes;
}

export interface RemoteAuthority {
  readonly servers: readonly ServerName[];
  /** `isUsable`: the active issuing CA issued it. */
  obtain(name: ServerName, isUsable: (certificate: X509Certificate) => boolean): Promise<ObtainedCertificate>;
}

const DNS_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/i;

/** Throws Problem `config_invalid` for a trust domain or host that a certificate cannot contain. */
export function checkCertificateNames({ trustDomain, hosts }: AuthorityOptions): void {
  if (!isTrustDomain(trustDomain)) {
    throw new Problem('config_invalid', { reason: `expected a trust domain of a-z 0-9 . _ -, found "${trustDomain}"` });
  }
  if (hosts.length === 0)
    throw new Problem('config_invalid', { reason: 'expected a host name or address, found none' });
  for (const host of hosts) {
    if (isIP(host) === 0 && !DNS_NAME.test(host)) {
      throw new Problem('config_invalid', { reason: `expected a DNS name or IP address, found "${host}"` });
    }
  }
}
