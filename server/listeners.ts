/**
 * The doors of a fleet: broker, enrollment and console, each given what it asks of the others. The innermost is opened
 * first: who is told an address must be able to knock at it. What follows from events between them is told elsewhere.
 */

import { type DeviceId, formatBootstrapToken, renewalNoticeTopic, serverUrl } from '@rollcall/protocol';
import type { Logger } from 'pino';
import { type Broker, checkPolicy, createBroker } from '../broker/index.ts';
import { type Console, createConsole } from '../console/index.ts';
import {
  createEnrollServer,
  createExpiryMonitor,
  createRenewalSchedule,
  issueServiceCertificate,
  type RenewalSchedule,
} from '../enroll/index.ts';
import type { RequestLimits } from '../limits/index.ts';
import { fleetEventOfBroker } from './broker-events.ts';
import { caControl, type FleetAuthority } from './certificate-authority.ts';
import type { Config } from './config/config.ts';
import type { DataDirectory } from './data-directory.ts';
import { certificateHealth } from './health.ts';
import { collectTelemetry, type Metrics } from './metrics.ts';
import type { OpenParts } from './open-parts.ts';
import { subjectOf } from './registry-lookups.ts';
import { answerFork, answerSuspicion } from './session-termination.ts';
import type { FleetMemory } from './stores.ts';

export interface FleetDoorsOptions {
  readonly config: Config;
  readonly data: DataDirectory;
  readonly memory: FleetMemory;
  readonly authority: FleetAuthority['authority'];
  readonly requestLimits: RequestLimits;
  /** The first of the public hosts. */
  readonly publicHost: string;
  readonly version: string;
  readonly now: () => number;
  readonly log: Logger;
  /** Of the process itself. */
  readonly clock: () => 'ok' | 'behind';
  readonly metrics: Metrics;
}

export interface FleetDoors {
  readonly broker: Broker;
  readonly renewals: RenewalSchedule;
  readonly operators: Console;
  readonly mqttUrl: string;
  readonly enrollUrl: string;
  renewed(device: DeviceId, serial: string): void;
}

/** Each part is added to `opened` as soon as it is open. */
export async function openFleetDoors(
  { config, data, memory, authority, requestLimits, publicHost, version, now, log, clock, metrics }: FleetDoorsOptions,
  opened: OpenParts,
): Promise<FleetDoors> {
  const { registry, telemetry, events, sinks, sessions } = memory;
  const broker = opened.add(
    await createBroker({
      host: config.mqtt.host,
      port: config.mqtt.port,
      tls: authority.serverCertificates.current('broker'),
      issuers: authority.trust.issuersPem,
      trustDomain: config.trustDomain,
      directory: registry,
      telemetry,
      sessions: sessions.memory,
      limits: config.mqtt.limits,
      refusalLog: requestLimits.refusalLog,
      now,
      log: log.child({ component: 'broker' }),
      onEvent: (event) => events.log.record(...fleetEventOfBroker(event)),
      onCloneSuspected: (suspicion) =>
        void answerSuspicion(suspicion, {
          registry,
          response: config.clones.response,
          told: () => void events.pollAudit(),
          log,
        }),
      nextSequence: () => events.nextConnection(),
    }),
  );
  const renewals = createRenewalSchedule({
    registry,
    perSecond: config.certificates.renewalsPerSecond,
    notify: (device, notice) =>
      broker.retain(renewalNoticeTopic(device), Buffer.from(notice === undefined ? '' : JSON.stringify(notice))),
    now,
    log: log.child({ component: 'enroll' }),
  });
  /** The notice of this renewal goes; nobody waits for it. */
  const renewed: FleetDoors['renewed'] = (device, serial) => {
    renewals
      .withdrawNotice(device, serial)
      .catch((error: unknown) => log.error({ err: error }, 'notice of a renewal stays'));
  };
  const expiry = opened.add(
    createExpiryMonitor({
      registry,
      told: () => void events.pollAudit(),
      now,
      log: log.child({ component: 'enroll' }),
    }),
  );
  const mqttUrl = serverUrl('mqtts', publicHost, broker.port);
  const enroll = opened.add(
    await createEnrollServer({
      host: config.enroll.host,
      port: config.enroll.port,
      authority,
      registry,
      mqttUrl,
      renewalWindow: async (life, holder) => {
        const id = holder.kind === 'device' ? holder.id : undefined;
        return renewals.window(life, id && (await registry.findDevice(id))?.group);
      },
      onRenewed: ({ identity, serial }) => {
        if (identity.kind !== 'device') return;
        renewed(identity.id, serial);
      },
      onForked: (identity) =>
        void answerFork(identity, {
          registry,
          response: config.clones.response,
          told: () => void events.pollAudit(),
          log,
        }),
      limits: config.enroll.limits,
      requestLimits,
      now,
      log: log.child({ component: 'enroll' }),
    }),
  );
  metrics.collectFrom('broker', broker);
  metrics.collectFrom('enroll', enroll);
  metrics.collectFrom('expiry', expiry);
  metrics.collectFrom('events', events);
  metrics.collectFrom('sinks', sinks);
  collectTelemetry(metrics, telemetry);
  const enrollUrl = serverUrl('https', publicHost, enroll.port);
  const operators = opened.add(
    await createConsole({
      socketPath: data.socket,
      host: config.console.host,
      port: config.console.port,
      publicHosts: config.publicHosts,
      tls: authority.serverCertificates.current('console'),
      operatorKeyFile: data.operatorKeyFile,
      registry,
      telemetry,
      events: events.log,
      sinks,
      fleet: {
        ca: caControl({ authority, registry, renewals, broker, now }),
        certificates: () => certificateHealth(authority.serverCertificates),
        clock,
        sessionStore: () => (sessions.memory.counters().isNearlyFull ? 'short' : 'ok'),
        renewals,
        formatToken: ({ record, secret }) =>
          formatBootstrapToken({ id: record.id, secret, rootSha256: authority.trust.rootSha256, enrollUrl }),
        issueService: ({ name, csrPem, actor }) =>
          issueServiceCertificate(
            { name, csr: csrPem, actor },
            { issuer: authority.issuer, trust: authority.trust, registry },
          ),
        trustBundlePem: () => authority.trust.pem,
        checkPolicy,
        explain: async (identity, verb, topic) => broker.explain(await subjectOf(identity, registry), verb, topic),
        sessions: () => broker.sessions(),
        metrics: () => metrics.text(),
      },
      requestLimits,
      version,
      now,
      log: log.child({ component: 'console' }),
    }),
  );
  return { broker, renewals, operators, mqttUrl, enrollUrl, renewed };
}
