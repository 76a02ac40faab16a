/** A real broker on a free port with a registry and a telemetry in memory, for the tests of this room. */

import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import {
  type DeviceId,
  type GroupName,
  type Identity,
  identityUri,
  type ServiceName,
} from '../../contract/identity.ts';
import type { PolicyDocument, PolicyScope } from '../../contract/policy.ts';
import type { Standing } from '../../registry/registry.ts';
import { type OpenSessions, openSessions, SESSION_LIMITS } from '../../sessions/open.ts';
import type { Accepted, TelemetryMessage } from '../../telemetry/telemetry.ts';
import { type Broker, type BrokerOptions, createBroker } from '../broker.ts';
import type { BrokerEvent } from '../events.ts';
import type { TelemetryIntake } from '../hooks.ts';
import type { BrokerLimits } from '../limits.ts';
import {
  addressName,
  type CertificateOrder,
  type Credentials,
  createIssuing,
  createRoot,
  dnsName,
  issue,
  uriName,
} from './certificates.ts';
import { type ConnectOptions, RawClient, type RawClientOptions } from './raw-client.ts';

const TRUST_DOMAIN = 'fleet.example';

export const device = (id: string): Identity => ({ kind: 'device', id: id as DeviceId });
export const service = (name: string): Identity => ({ kind: 'service', name: name as ServiceName });
export const DEFAULT = 'default' as GroupName;

/** One fleet's authority for a whole test file; making keys costs more than a test. */
export const root = createRoot('test root');
export const issuing = createIssuing(root, 'test issuing');
const server = issue({
  issuer: issuing,
  commonNames: ['broker'],
  names: [dnsName('localhost'), addressName(127, 0, 0, 1)],
  purposes: ['serverAuth'],
});

export interface TestbedOptions {
  readonly limits?: Partial<BrokerLimits>;
  readonly now?: () => number;
  readonly accept?: (message: TelemetryMessage) => Promise<void>;
  /** In place of the one in memory. */
  readonly telemetry?: TelemetryIntake;
  readonly standing?: (serial: string, known: Standing) => Promise<Standing>;
  readonly policies?: Readonly<Record<string, PolicyDocument>>;
  readonly log?: BrokerOptions['log'];
  readonly proveCertificate?: (serial: string) => Promise<boolean>;
  readonly onCloneSuspected?: BrokerOptions['onCloneSuspected'];
  /** The file of an earlier broker; without it each has its own, gone with it. */
  readonly sessionFile?: string;
  /** The bound on all that is kept between connections. */
  readonly keptBytes?: number;
}

export class Testbed {
  readonly broker: Broker;
  readonly events: BrokerEvent[];
  readonly accepted: TelemetryMessage[];
  readonly standings: Map<string, Standing>;
  readonly policies: Map<string, PolicyDocument>;
  readonly sessions: OpenSessions;
  /** Says that storage is behind, or is not any more. */
  readonly pressure: (isBehind: boolean) => void;
  readonly #emitter: EventEmitter;
  readonly #policyChanged: (scope: PolicyScope) => void;
  readonly #clients: RawClient[] = [];
  #directory = '';

  private constructor(
    broker: Broker,
    parts: Pick<Testbed, 'events' | 'accepted' | 'standings' | 'policies' | 'sessions' | 'pressure'>,
    emitter: EventEmitter,
    policyChanged: (scope: PolicyScope) => void,
  ) {
    this.broker = broker;
    this.events = parts.events;
    this.accepted = parts.accepted;
    this.standings = parts.standings;
    this.policies = parts.policies;
    this.sessions = parts.sessions;
    this.pressure = parts.pressure;
    this.#emitter = emitter;
    this.#policyChanged = policyChanged;
  }

  static async start(options: TestbedOptions = {}): Promise<Testbed> {
    const events: BrokerEvent[] = [];
    const accepted: TelemetryMessage[] = [];
    const standings = new Map<string, Standing>();
    const policies = new Map<string, PolicyDocument>(Object.entries(options.policies ?? {}));
    const emitter = new EventEmitter();
    const listeners = new Set<(scope: PolicyScope) => void>();
    const pressureListeners = new Set<(isBehind: boolean) => void>();
    const pressure = (isBehind: boolean) => {
      for (const listener of pressureListeners) listener(isBehind);
    };
    const keys = new Set<string>();
    const accept = async (message: TelemetryMessage): Promise<Accepted> => {
      await options.accept?.(message);
      const { device: of, key } = message;
      if (key !== undefined && keys.has(`${of}/${key}`)) return 'repeated';
      if (key !== undefined) keys.add(`${of}/${key}`);
      accepted.push({ ...message, payload: Buffer.from(message.payload) });
      return 'stored';
    };
    const directory = mkdtempSync(join(tmpdir(), 'rollcall-broker-'));
    const { queuedMessages, queuedBytes } = { ...SESSION_LIMITS, ...options.limits };
    const sessions = await openSessions({
      file: options.sessionFile ?? join(directory, 'sessions.db'),
      limits: { queuedMessages, queuedBytes, keptBytes: options.keptBytes ?? SESSION_LIMITS.keptBytes },
      now: options.now ?? Date.now,
      log: options.log ?? pino({ level: 'silent' }),
    });
    const telemetry: TelemetryIntake = {
      accept,
      onPressure(listener) {
        pressureListeners.add(listener);
        return () => pressureListeners.delete(listener);
      },
      submit(message, waiting) {
        accept(message).then(
          (outcome) => waiting[outcome](),
          (error: unknown) => waiting.notStored(error),
        );
      },
    };
    const broker = await createBroker({
      sessions: sessions.memory,
      host: '127.0.0.1',
      port: 0,
      tls: { key: server.key, cert: server.chain, ca: root.pem + issuing.pem },
      issuers: issuing.pem,
      trustDomain: TRUST_DOMAIN,
      directory: {
        async standing(serial) {
          const known = standings.get(serial) ?? { state: 'unknown' };
          return options.standing === undefined ? known : options.standing(serial, known);
        },
        async proveCertificate(serial) {
          return options.proveCertificate?.(serial) ?? false;
        },
        findPolicy: async (scope) => policies.get(scope),
        onPolicyChange(listener) {
          listeners.add(listener);
          return () => listeners.delete(listener);
        },
      },
      telemetry: options.telemetry ?? telemetry,
      limits: { connectionsPerSecondPerAddress: 0, ...options.limits },
      now: options.now ?? Date.now,
      log: options.log ?? pino({ level: 'silent' }),
      ...(options.onCloneSuspected !== undefined && { onCloneSuspected: options.onCloneSuspected }),
      onEvent(event) {
        events.push(event);
        emitter.emit('event', event);
      },
    });
    const policyChanged = (scope: PolicyScope) => {
      for (const listener of listeners) listener(scope);
    };
    const bed = new Testbed(
      broker,
      { events, accepted, standings, policies, sessions, pressure },
      emitter,
      policyChanged,
    );
    bed.#directory = directory;
    return bed;
  }

  /** A certificate that the registry knows and finds good. */
  enroll(
    identity: Identity,
    order: Partial<CertificateOrder> = {},
    about: { readonly group?: string; readonly labels?: Readonly<Record<string, string>> } = {},
  ): Credentials {
    const name = identity.kind === 'device' ? identity.id : identity.name;
    const credentials = issue({
      issuer: issuing,
      commonNames: [name],
      names: [uriName(identityUri(TRUST_DOMAIN, identity))],
      purposes: ['clientAuth'],
      ...order,
    });
    this.standings.set(credentials.serial, {
      state: 'good',
      holder: identity,
      group: (about.group ?? DEFAULT) as GroupName,
      labels: about.labels ?? {},
      notAfter: order.notAfter ?? Date.now() + 30 * 86_400_000,
    });
    return credentials;
  }

  /** What the registry does when it revokes, without the disconnect. */
  revokeInRegistry(identity: Identity): void {
    for (const [serial, standing] of this.standings) {
      if (standing.state !== 'good' || JSON.stringify(standing.holder) !== JSON.stringify(identity)) continue;
      this.standings.set(serial, {
        state: 'revoked',
        holder: identity,
        revokedAt: Date.now(),
        reason: 'keyCompromise',
      });
    }
  }

  setPolicy(scope: PolicyScope, policy: PolicyDocument): void {
    this.policies.set(scope, policy);
    this.#policyChanged(scope);
  }

  /** A finished handshake. */
  async open(credentials?: Pick<Credentials, 'chain' | 'key'>, tls?: RawClientOptions['tls']): Promise<RawClient> {
    const client = await RawClient.open({
      port: this.broker.port,
      ca: root.pem,
      chain: credentials?.chain,
      key: credentials?.key,
      ...(tls === undefined ? {} : { tls }),
    });
    this.#clients.push(client);
    return client;
  }

  /** A session; throws when the broker does not want it. */
  async session(credentials: Credentials, options: ConnectOptions): Promise<RawClient> {
    const client = await this.open(credentials);
    const code = await client.connect(options);
    if (code !== 0) throw new Error(`expected CONNACK 0, found ${code}`);
    return client;
  }

  /** A device of the default group with a session. */
  async connectDevice(id: string, options: Partial<ConnectOptions> = {}): Promise<RawClient> {
    return this.session(this.enroll(device(id)), { clientId: id, ...options });
  }

  async connectService(name: string, options: Partial<ConnectOptions> = {}): Promise<RawClient> {
    return this.session(this.enroll(service(name)), { clientId: name, ...options });
  }

  /** The first event of a type that fits, past or to come. */
  async event<Type extends BrokerEvent['type']>(
    type: Type,
    fits: (event: Extract<BrokerEvent, { type: Type }>) => boolean = () => true,
  ): Promise<Extract<BrokerEvent, { type: Type }>> {
    for (;;) {
      for (const event of this.events) {
        if (event.type === type && fits(event as never)) return event as Extract<BrokerEvent, { type: Type }>;
      }
      await once(this.#emitter, 'event');
    }
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.broker.close();
    await this.sessions.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
