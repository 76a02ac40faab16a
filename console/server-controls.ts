import type { GroupName, Identity, PolicyDocument, PolicyScope, ServiceName } from '@rollcall/protocol';
import type { Actor, ExpiringItem, ExpiringKind, ExpiryFilter, ServiceRecord } from '../registry/index.ts';
import type { OtherChallenges } from './auth/passkey-challenges.ts';
import type { DeviceDiagnosis, DiagnosisOrder } from './device-diagnosis.ts';
import type { DeviceMessages } from './device-messages.ts';
import type { FleetExamination, ServerExamination } from './finding.ts';
import type { FleetTelemetry } from './fleet-telemetry.ts';
import type { NodeControl } from './node-control.ts';
import type { RefusalControl } from './refusals.ts';
import type { FleetHistory, FleetOverview, ServerOverview } from './server-overview.ts';
import type { SimulationControl } from './simulation-control.ts';

/** `behind`: it was set back behind the newest entry of the audit. `skewed`: it is more than a second off that of the store's database. */
export type ClockState = 'ok' | 'behind' | 'skewed';

/** An MQTT session that is connected now. Times are milliseconds since the epoch. */
export interface LiveSession {
  readonly identity: Identity;
  readonly clientId: string;
  /** That has its connection. */
  readonly node: string;
  readonly address: string;
  readonly serial: string;
  readonly connectedAt: number;
  /** End of its certificate, when it will be disconnected. */
  readonly notAfter: number;
}

export interface SessionQuery {
  /** The page of client ids greater than this one. Empty: the first page. */
  readonly after: string;
  readonly limit: number;
  /** Sessions of this identity alone. */
  readonly identity?: Identity | undefined;
  /** Sessions that are connected to this node alone. */
  readonly node?: string | undefined;
}

export interface SessionPage {
  readonly sessions: readonly LiveSession[];
  /** There are sessions after the last one. */
  readonly hasMore: boolean;
  /** Nodes that did not answer in time: their sessions are missing. */
  readonly unanswered: readonly string[];
}

export interface ServiceRequest {
  readonly name: ServiceName;
  readonly csrPem: string;
  /** Whether the service may exist: then its other certificates stay valid. */
  readonly again: boolean;
  readonly actor: Actor;
}

export interface IssuedService {
  readonly service: ServiceRecord;
  /** Leaf first. */
  readonly certificatePem: string;
  readonly caPem: string;
  readonly enrollUrl: string;
  readonly mqttUrl: string;
}

export interface PolicyExplanation {
  readonly allowed: boolean;
  /** The rule that decided, when one did. */
  readonly rule?: string | undefined;
  readonly reason?: string | undefined;
}

/** What keeps a policy from being applied. */
export interface PolicyFault {
  readonly verb: 'connect' | 'publish' | 'subscribe' | 'receive' | 'retain';
  /** Of the rule in its list; undefined for the list itself. */
  readonly index: number | undefined;
  readonly fault: string;
}

/** What a policy would do to the live sessions that it would decide for. */
export interface PolicyPreview {
  readonly sessions: number;
  /** Sessions that would end. */
  readonly ended: number;
  readonly subscriptionsLost: number;
  /** The first of both; without a filter the session would end. */
  readonly lost: readonly { readonly clientId: string; readonly filter?: string }[];
  /** Nodes that did not answer in time: their sessions are missing. */
  readonly unanswered: readonly string[];
}

/** A root or issuing CA. Times are milliseconds since the epoch. */
export interface CaView {
  readonly id: string;
  readonly role: 'root' | 'issuing';
  readonly state: 'prepared' | 'active' | 'outgoing' | 'tainted' | 'retired';
  readonly rootId: string | undefined;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly hasKey: boolean;
  readonly issued: number;
  readonly stranded: number;
  readonly preparedAt: number;
  readonly activatedAt: number | undefined;
  readonly taintedAt: number | undefined;
  readonly retiredAt: number | undefined;
}

export interface PulledRenewals {
  /** Devices. */
  readonly pulled: number;
  /** Certificates of services. */
  readonly services: number;
  readonly until: number;
  readonly perSecond: number;
}

/** Holders that a step of a rotation would leave without access. */
export interface StrandedHolders {
  /** `activate` of a prepared CA; `retire` of another. */
  readonly step: 'activate' | 'retire';
  readonly count: number;
  /** Devices first, in the order of their names. */
  readonly holders: readonly Identity[];
}

/** A CA that is not retired, and what third parties get about it. Times are milliseconds since the epoch, sizes bytes. */
export interface PublishedCa {
  readonly caId: string;
  readonly role: 'root' | 'issuing';
  /** Undefined before the first one is issued. */
  readonly crl:
    | {
        readonly number: number;
        readonly issuedAt: number;
        readonly nextUpdate: number;
        readonly entries: number;
        readonly bytes: number;
        /** Of an issuing CA. */
        readonly delta?: { readonly baseNumber: number; readonly bytes: number } | undefined;
      }
    | undefined;
  readonly urls:
    | { readonly crl: string; readonly access?: { readonly ocsp: string; readonly caIssuers: string } | undefined }
    | undefined;
}

export interface PublishedStatus {
  readonly cas: readonly PublishedCa[];
  readonly ocspSigners: readonly {
    readonly caId: string;
    readonly serial: string;
    readonly notBefore: number;
    readonly notAfter: number;
  }[];
}

/** The steps of a rotation. Problem `ca_…`, `root_key_absent` or `signer_unavailable` when one can't be taken. */
export interface CaControl {
  list(): Promise<readonly CaView[]>;
  /** At most so many holders. Problem `ca_unknown`. */
  stranded(id: string, most: number): Promise<StrandedHolders>;
  /** CRLs and OCSP signers of the CAs that are not retired. */
  published(): Promise<PublishedStatus>;
  prepare(role: CaView['role'], actor: Actor): Promise<string>;
  activate(id: string, maxStranded: number, actor: Actor): Promise<void>;
  taint(id: string, withinMs: number, actor: Actor): Promise<PulledRenewals>;
  retire(id: string, maxStranded: number, actor: Actor): Promise<void>;
  /** PEM. */
  request(): Promise<string>;
  importChain(pem: string, actor: Actor): Promise<string>;
  exportRoot(passphrase: string, actor: Actor): Promise<{ readonly id: string; readonly pem: string }>;
  removeRootKey(id: string, actor: Actor): Promise<void>;
}

export interface RenewalControl {
  pull(order: {
    readonly group?: GroupName | undefined;
    readonly issuerId?: string | undefined;
    readonly withinMs: number;
    readonly reason: 'pulled_forward';
    readonly actor: Actor;
  }): Promise<PulledRenewals>;
  status(filter: { readonly group?: GroupName | undefined }): Promise<{
    readonly devices: number;
    readonly due: number;
    readonly late: number;
    readonly pulled: number;
    readonly endingIn7Days: number;
    readonly endingIn30Days: number;
    readonly budgetPerSecond: number;
    readonly nextHourPerSecond: number;
  }>;
}

export interface ServerControls {
  /** The server takes devices and can store what they send. */
  isReady(): Promise<boolean>;
  /** Whether every listener uses the certificate that is in its files. */
  certificates(): 'ok' | 'refused';
  clock(): ClockState;
  /** Whether the store of persistent sessions has room. */
  sessionStore(): 'ok' | 'short';
  /** What expires in each of the next weeks, and what is late, by kind; up to a minute old. */
  expiringWeeks(): Promise<{
    readonly from: number;
    readonly weeks: readonly Readonly<Partial<Record<ExpiringKind, number>>>[];
    readonly late: Readonly<Partial<Record<ExpiringKind, number>>>;
  }>;
  /** What expires next, or is late to renew, of the kinds of the filter. */
  expiring(filter: ExpiryFilter): Promise<readonly ExpiringItem[]>;
  readonly ca: CaControl;
  readonly renewals: RenewalControl;
  readonly nodes: NodeControl;
  readonly simulations: SimulationControl;
  readonly deviceMessages: DeviceMessages;
  /** Of all nodes that share a store. */
  overview(): Promise<ServerOverview>;
  /** Each of them, without what is counted for all. */
  fleet(): Promise<FleetOverview>;
  /** Challenges for passkeys that other nodes made; undefined where the server is alone. */
  readonly otherChallenges?: OtherChallenges | undefined;
  /** What other nodes alone know of telemetry. */
  readonly otherNodes: FleetTelemetry;
  /** Of the last so many minutes, of all nodes. */
  history(minutes: number): Promise<FleetHistory>;
  examineServer(): Promise<ServerExamination>;
  /** Every node that shares the store examines itself. */
  examineFleet(): Promise<FleetExamination>;
  readonly refusals: RefusalControl;
  diagnoseDevice(order: DiagnosisOrder): Promise<DeviceDiagnosis>;
  /** The text form, with the root's fingerprint and the enroll URL. */
  formatToken(minted: { readonly record: { readonly id: string }; readonly secret: string }): string;
  /** Problem `csr_…` or `service_exists` when it cannot. */
  issueService(order: ServiceRequest): Promise<IssuedService>;
  trustBundlePem(): string;
  /** Problem `policy_invalid` when the document cannot be applied. */
  checkPolicy(document: PolicyDocument): void;
  policyFaults(document: PolicyDocument): readonly PolicyFault[];
  previewPolicy(scope: PolicyScope, document: PolicyDocument): Promise<PolicyPreview>;
  explain(identity: Identity, verb: 'publish' | 'subscribe' | 'receive', topic: string): Promise<PolicyExplanation>;
  /** Of all nodes of the fleet, in the order of their client ids. A page may have fewer than the limit, and not be the last one. */
  sessions(query: SessionQuery): Promise<SessionPage>;
  /** Writes the presence that was reported so far into the registry, or as much of it as can be written now. */
  writePresence(): Promise<void>;
  /** In the text format of Prometheus. */
  metrics(): Promise<string>;
}
