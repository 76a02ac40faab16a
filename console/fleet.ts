/** What the console needs of the rooms it never imports; `cli/commands/serve.ts` introduces them. Types only. */

import type { Identity, ServiceName } from '../contract/identity.ts';
import type { PolicyDocument } from '../contract/policy.ts';
import type { Actor, MintedToken, ServiceRecord } from '../registry/registry.ts';

/** An MQTT session that is connected now. Times are milliseconds since the epoch. */
export interface LiveSession {
  readonly identity: Identity;
  readonly clientId: string;
  readonly address: string;
  readonly serial: string;
  readonly connectedAt: number;
  /** End of its certificate, when it will be disconnected. */
  readonly notAfter: number;
}

export interface ServiceOrder {
  readonly name: ServiceName;
  readonly csrPem: string;
  readonly actor: Actor;
}

export interface IssuedService {
  readonly service: ServiceRecord;
  /** Leaf first. */
  readonly certificatePem: string;
  readonly caPem: string;
}

export interface Explanation {
  readonly allowed: boolean;
  /** The rule that decided, when one did. */
  readonly rule?: string | undefined;
  readonly reason?: string | undefined;
}

export interface Fleet {
  /** The text form, with the root's fingerprint and the enroll URL. */
  mintTokenText(minted: MintedToken): string;
  /** Problem `csr_…` or `service_exists` when it cannot. */
  issueService(order: ServiceOrder): Promise<IssuedService>;
  trustBundlePem(): string;
  /** Problem `policy_invalid` when the document cannot be applied. */
  checkPolicy(document: PolicyDocument): void;
  explain(identity: Identity, verb: 'publish' | 'subscribe' | 'receive', topic: string): Promise<Explanation>;
  sessions(): readonly LiveSession[];
  /** Names as `console/metrics.ts` reads them. */
  counters(): Readonly<Record<string, number>>;
}
