/** Options of the broker, the EST server and the console: their configuration, and their calls to other modules. Opens nothing. */

import { formatBootstrapToken, renewalNoticeTopic } from '@rollcall/protocol';
import { type Broker, checkPolicy, type createBroker, MAIN_NODE, policyFaults } from '../broker/index.ts';
import type {
  ClockState,
  createConsole,
  FleetTelemetry,
  NodeControl,
  OtherChallenges,
  ServerExamination,
} from '../console/index.ts';
import {
  type Authority,
  type createEnrollServer,
  createExpiryList,
  createExpiryWeeks,
  type createRenewalSchedule,
  issueServiceCertificate,
  type RenewalSchedule,
} from '../enroll/index.ts';
import type { SharedRegistry } from '../registry/open.ts';
import { fleetEventOfBroker, fleetEventOfEst } from './broker-events.ts';
import { createCaControl } from './ca-control.ts';
import { respondToClone, respondToFork } from './clone-response.ts';
import { nodesWithoutKey } from './cluster/ca-keys.ts';
import { withDeaf } from './cluster/deaf-nodes.ts';
import type { FleetQuestions } from './cluster/fleet-questions.ts';
import { NodeJoins } from './cluster/node-joins.ts';
import { clientCertificateSettings } from './config/client-certificates.ts';
import { oidcSettings } from './config/oidc-config.ts';
import type { ServerContext } from './context.ts';
import { DeviceCommands } from './device-commands.ts';
import { DeviceTwins } from './device-twins.ts';
import { diagnoseDevice } from './diagnosis/device-diagnosis.ts';
import { createRefusalControl } from './diagnosis/refusal-groups.ts';
import { certificateHealth } from './health.ts';
import type { OverviewMonitor } from './overview/overview.ts';
import type { PresenceRecorder } from './presence-recorder.ts';
import { subjectOf } from './registry-lookups.ts';
import { runtimeText } from './runtime.ts';
import type { Simulations } from './simulations/simulations.ts';
import type { Stores } from './store-options.ts';

export function brokerOptions(
  { config, cluster, limits, now, log }: ServerContext,
  { registry, telemetry, events, sessions }: Stores,
  { authority, presence }: { readonly authority: Authority; readonly presence: PresenceRecorder },
): Parameters<typeof createBroker>[0] {
  return {
    host: config.mqtt.host,
    port: config.mqtt.port,
    proxies: config.mqtt.proxyProtocol.from,
    listens: config.node.roles.includes('mqtt'),
    ...(config.mqtt.webSocket.listen && { webSocket: config.mqtt.webSocket }),
    tls: authority.serverCertificates.current('broker'),
    issuers: authority.trust.issuersPem,
    trustDomain: config.trustDomain,
    directory: registry,
    telemetry,
    sessions: sessions.store,
    limits: config.mqtt.limits,
    serverReference: config.mqtt.serverReference === '' ? undefined : config.mqtt.serverReference,
    refusalLog: limits.refusalLog,
    loadTests: limits.loadTests,
    now,
    log: log.child({ component: 'broker' }),
    onEvent: (event) => {
      presence.record(event);
      if (event.type === 'connected' && event.identity.kind === 'device') {
        telemetry
          .claimed?.(event.identity.id)
          .catch((error: unknown) => log.warn({ err: error }, 'keys of messages on other nodes were not read'));
      }
      events.log.record(...fleetEventOfBroker(event, cluster?.node));
    },
    onCloneSuspected: (suspicion) =>
      void respondToClone(suspicion, {
        registry,
        response: config.clones.response,
        onRecorded: () => void events.pollAudit(),
        log,
      }),
    nextSequence: () => events.nextConnection(),
  };
}

export function renewalOptions(
  { config, now, log }: ServerContext,
  { registry }: Stores,
  broker: Broker,
): Parameters<typeof createRenewalSchedule>[0] {
  return {
    registry,
    perSecond: config.certificates.renewalsPerSecond,
    notify: (device, notice) =>
      broker.retain(renewalNoticeTopic(device), Buffer.from(notice === undefined ? '' : JSON.stringify(notice))),
    now,
    log: log.child({ component: 'enroll' }),
  };
}

export function enrollOptions(
  { config, cluster, limits, now, log }: ServerContext,
  { registry, events }: Stores,
  {
    authority,
    renewals,
    mqttUrl,
  }: {
    readonly authority: Authority;
    readonly renewals: RenewalSchedule;
    readonly mqttUrl: string;
  },
): Parameters<typeof createEnrollServer>[0] {
  return {
    host: config.enroll.host,
    port: config.enroll.port,
    proxies: config.enroll.proxyProtocol.from,
    certificateProxies: config.enroll.clientCertHeader.from,
    authority,
    registry,
    nodes: nodeEnrollment({ config, cluster, log }, registry, authority),
    mqttUrl,
    renewalWindow: async (lifetime, holder) => {
      const id = holder.kind === 'device' ? holder.id : undefined;
      return renewals.window(lifetime, id && (await registry.findDevice(id))?.group);
    },
    onRenewed: ({ identity, serial }) => {
      if (identity.kind !== 'device') return;
      renewals
        .withdrawNotice(identity.id, serial)
        .catch((error: unknown) => log.error({ err: error }, 'renewal notice was not withdrawn'));
    },
    onForked: (identity) =>
      void respondToFork(identity, {
        registry,
        response: config.clones.response,
        onRecorded: () => void events.pollAudit(),
        log,
      }),
    onRefused: (refusal) => events.log.record(...fleetEventOfEst(refusal)),
    limits: config.enroll.limits,
    requestLimits: limits,
    now,
    log: log.child({ component: 'enroll' }),
  };
}

/** How hosts join the fleet by this node; undefined where its store is no other's. */
function nodeEnrollment(
  { config, cluster, log }: Pick<ServerContext, 'config' | 'cluster' | 'log'>,
  registry: Stores['registry'],
  authority: Authority,
): Parameters<typeof createEnrollServer>[0]['nodes'] {
  if (cluster === undefined) return undefined;
  const shared = registry as SharedRegistry;
  const joins = new NodeJoins({ config, cluster, registry: shared, log: log.child({ component: 'enroll' }) });
  return { registry: shared, certificates: authority.nodes, join: (order) => joins.join(order, authority) };
}

export interface ConsoleParts {
  readonly authority: Authority;
  readonly broker: Broker;
  readonly presence: PresenceRecorder;
  readonly renewals: RenewalSchedule;
  readonly overview: OverviewMonitor;
  readonly nodes: NodeControl;
  readonly simulations: Simulations;
  readonly enrollUrl: string;
  readonly examine: () => Promise<ServerExamination>;
  readonly otherNodes: FleetTelemetry;
  /** Between servers that share a store; undefined where this one is alone. */
  readonly questions: FleetQuestions | undefined;
  readonly mqttUrl: string;
  readonly clock: () => ClockState;
}

export function consoleOptions(
  context: ServerContext,
  stores: Stores,
  parts: ConsoleParts,
): Parameters<typeof createConsole>[0] {
  const { config, cluster, data, limits, version, now, log } = context;
  const { registry, telemetry, events, sinks } = stores;
  return {
    socketPath: data.socket,
    // Without the role only operators of this machine reach it.
    host: config.node.roles.includes('console') ? config.console.host : '127.0.0.1',
    port: config.console.port,
    publicHosts: config.publicHosts,
    sessions: config.console.sessions,
    oidc: oidcSettings(config.console.oidc),
    clientCertificates: clientCertificateSettings(config.console.clientCertificates),
    tls: parts.authority.serverCertificates.current('console'),
    operatorKeyFile: data.operatorKeyFile,
    metricsKeyFile: data.metricsKeyFile,
    registry,
    telemetry,
    events: events.log,
    sinks,
    controls: serverControls(context, stores, parts),
    requestLimits: limits,
    version,
    runtime: runtimeText,
    node: cluster?.node ?? MAIN_NODE,
    now,
    log: log.child({ component: 'console' }),
  };
}

function otherChallenges(questions: FleetQuestions): OtherChallenges {
  return {
    use: async (order) => [...(await questions.ask('challenge', order)).answers.values()].includes(true),
    answerWith: (use) => questions.answerWith('challenge', use),
  };
}

/** Calls of the console to the broker and the certificate authority. */
function serverControls(
  context: ServerContext,
  stores: Stores,
  {
    authority,
    broker,
    presence,
    renewals,
    overview,
    nodes,
    simulations,
    enrollUrl,
    examine,
    otherNodes,
    questions,
    mqttUrl,
    clock,
  }: ConsoleParts,
): Parameters<typeof createConsole>[0]['controls'] {
  const { config, cluster, metrics, readiness, now } = context;
  const { registry, events, sessions } = stores;
  const { trust, issuer } = authority;
  const commands = new DeviceCommands({ broker, registry, now });
  const twins = new DeviceTwins({ broker, registry, packetBytes: config.mqtt.limits.packet });
  const expiryList = createExpiryList({ registry, authority, now });
  return {
    ca: createCaControl({
      ...{ authority, registry, renewals, broker, now, log: context.log.child({ component: 'enroll' }) },
      nodesWithoutKey: cluster && (async (id) => nodesWithoutKey(await cluster.nodes(), id)),
    }),
    isReady: () => readiness.isReady(),
    certificates: () => certificateHealth(authority.serverCertificates),
    clock,
    sessionStore: () => (sessions.store.counters().isNearlyFull ? 'short' : 'ok'),
    renewals,
    nodes,
    simulations,
    deviceMessages: {
      command: (order) => commands.send(order),
      twin: (device) => twins.read(device),
      changeDesired: (change) => twins.change(change),
    },
    overview: () => overview.overview(),
    fleet: () => overview.fleet(),
    otherNodes,
    otherChallenges: questions && otherChallenges(questions),
    history: (minutes) => overview.history(minutes),
    examineServer: examine,
    examineFleet: () => overview.examination(),
    refusals: createRefusalControl(events.log),
    diagnoseDevice: (order) =>
      diagnoseDevice(order, { registry, events: events.log, sessions: (query) => broker.sessionPage(query), now }),
    formatToken: ({ record, secret }) =>
      formatBootstrapToken({ id: record.id, secret, rootSha256: trust.rootSha256, enrollUrl }),
    expiring: (filter) => expiryList.list(filter),
    expiringWeeks: createExpiryWeeks({ registry, authority, now }),
    issueService: async ({ name, csrPem, again, actor }) => {
      const issued = await issueServiceCertificate({ name, csr: csrPem, again, actor }, { issuer, trust, registry });
      const { service, certificatePem, caPem } = issued;
      return { service, certificatePem, caPem, enrollUrl, mqttUrl };
    },
    trustBundlePem: () => trust.pem,
    checkPolicy,
    policyFaults: (document) => [...policyFaults(document)],
    previewPolicy: async (scope, document) => withDeaf(await broker.previewPolicy(scope, document), cluster),
    explain: async (identity, verb, topic) => broker.explain(await subjectOf(identity, registry), verb, topic),
    sessions: async (query) => withDeaf(await broker.sessionPage(query), cluster),
    writePresence: () => presence.flush(),
    metrics: () => metrics.text(),
  };
}
