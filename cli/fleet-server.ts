/**
 * The whole server in one function: opens the fleet's memory and data, builds the three doors, and introduces them to each
 * other. This is the only place where rooms that never import one another meet. Reads no flag and prints nothing.
 */

import { writeFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { readRestoredNote, removeRestoredNote } from '../backup/restored-note.ts';
import { checkPolicy, type Subject } from '../broker/acl.ts';
import { type Broker, createBroker } from '../broker/broker.ts';
import { createConsole } from '../console/console.ts';
import { formatBootstrapToken } from '../contract/bootstrap-token.ts';
import { DEFAULT_GROUP, type Identity, parseDeviceId, parseGroupName } from '../contract/identity.ts';
import { NOBODY } from '../contract/lifecycle.ts';
import { Problem } from '../contract/problem.ts';
import { lifecycleTopic, renewalNoticeTopic, TRUST_BUNDLE_TOPIC } from '../contract/topics.ts';
import { createExpiryWatch } from '../enroll/expiry-watch.ts';
import { createRenewals } from '../enroll/renewals.ts';
import { createEnrollServer } from '../enroll/server.ts';
import { issueServiceCertificate } from '../enroll/services.ts';
import { openFleetEvents } from '../events/open.ts';
import { openRegistry } from '../registry/open.ts';
import type { Registry } from '../registry/registry.ts';
import { openSessions } from '../sessions/open.ts';
import { openSinks } from '../sinks/open.ts';
import { openTelemetry } from '../telemetry/open.ts';
import { brokerHappening } from './broker-happenings.ts';
import { caControl, openFleetAuthority } from './certificate-authority.ts';
import type { Config } from './config.ts';
import { openDataDirectory } from './data-directory.ts';
import { sinkSettings } from './sink-settings.ts';
import { answerFork, answerSuspicion, introduceStanding } from './standing-introduction.ts';

export interface FleetServerOptions {
  readonly config: Config;
  readonly version: string;
  /** Where sinks find credentials that are named by a variable. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

export interface FleetServer {
  readonly enrollUrl: string;
  readonly mqttUrl: string;
  readonly consoleUrl: string;
  /** `http://host:port` for those who check certificates; undefined unless it was asked for. */
  readonly certificateStatusUrl: string | undefined;
  /** Path of the operator socket. */
  readonly socket: string;
  /** Path of the root certificate, PEM. */
  readonly trustBundle: string;
  /** Disconnects clients, flushes the journal, frees every address. Idempotent. */
  close(): Promise<void>;
}

/** Starts everything or nothing: when one part can't start, those before it are closed again, and its Problem is thrown. */
export async function startFleetServer(options: FleetServerOptions): Promise<FleetServer> {
  const opened = new OpenParts();
  try {
    return await start(options, opened);
  } catch (error) {
    await opened.close();
    throw error;
  }
}

async function start(
  { config, version, environment = {}, now, log }: FleetServerOptions,
  opened: OpenParts,
): Promise<FleetServer> {
  const data = openDataDirectory(config.data);
  const publicHost = hostInUrl(config.publicHosts[0] as string);
  const restored = readRestoredNote(data.path);
  const after = restored && 'restore';

  // The fleet's memory, its data, and the keys that vouch for it.
  const registry = opened.add(
    await openRegistry({
      file: data.registryFile,
      overlapMs: config.certificates.overlap,
      recovery: {
        graceMs: config.certificates.recovery.graceDays * 24 * 3_600_000,
        recoveries: config.certificates.recovery.recoveries,
      },
      now,
      log: log.child({ room: 'registry' }),
    }),
  );
  const telemetry = opened.add(
    await openTelemetry({
      directory: data.telemetry,
      after,
      limits: { queuedBytes: config.telemetry.queuedBytes, patience: config.telemetry.patience },
      retention: config.telemetry.retention,
      diskFloor: config.telemetry.diskFloor,
      devicesOf: (group) => devicesOf(group, registry),
      forgotten: async (segments) => {
        for (const { name, messages, bytes } of segments) {
          const subject = `telemetry/${name}`;
          const details = { messages, bytes };
          await registry.recordAct({
            actor: 'server/retention',
            action: 'telemetry.pruned',
            subject,
            outcome: 'done',
            details,
          });
        }
      },
      now,
      log: log.child({ room: 'telemetry' }),
    }),
  );
  const events = opened.add(
    await openFleetEvents({
      directory: data.events,
      after,
      trustDomain: config.trustDomain,
      registry,
      retention: config.events.retention,
      now,
      log: log.child({ room: 'events' }),
    }),
  );
  const sinks = opened.add(
    await openSinks({
      settings: sinkSettings(config.sinks, { environment, now }),
      journals: { telemetry, events: events.journal },
      directory: data.sinks,
      trustDomain: config.trustDomain,
      groupOf: async (name) => {
        const id = parseDeviceId(name);
        return id === undefined ? undefined : (await registry.findDevice(id))?.group;
      },
      now,
      random: Math.random,
      log: log.child({ room: 'sinks' }),
    }),
  );
  const { queuedMessages, queuedBytes } = config.mqtt.limits;
  const sessions = opened.add(
    await openSessions({
      file: data.sessionFile,
      limits: { queuedMessages, queuedBytes, keptBytes: config.sessions.keptBytes },
      now,
      log: log.child({ room: 'sessions' }),
    }),
  );
  const { authority, statusUrl } = opened.add(
    await openFleetAuthority({
      config,
      directory: data.authority,
      publicHost,
      registry,
      now,
      log: log.child({ room: 'enroll' }),
    }),
  );

  if (restored !== undefined) {
    log.warn({ ...restored }, 'restored from a backup: what was revoked after it was taken is not revoked');
    await registry.recordAct({
      actor: 'server/restore',
      action: 'fleet.restored',
      subject: `backup/${restored.takenAt}`,
      outcome: 'done',
      details: { restoredAt: restored.restoredAt },
    });
    removeRestoredNote(data.path);
  }

  // The doors, the innermost first: who is told an address must be able to knock at it.
  const broker = opened.add(
    await createBroker({
      host: config.mqtt.host,
      port: config.mqtt.port,
      tls: authority.serverCredentials('broker'),
      issuers: authority.issuersPem,
      trustDomain: config.trustDomain,
      directory: registry,
      telemetry,
      sessions: sessions.memory,
      limits: config.mqtt.limits,
      now,
      log: log.child({ room: 'broker' }),
      onEvent: (event) => events.log.record(...brokerHappening(event)),
      onCloneSuspected: (suspicion) =>
        void answerSuspicion(suspicion, {
          registry,
          response: config.clones.response,
          told: () => void events.look(),
          log,
        }),
      nextSequence: () => events.nextConnection(),
    }),
  );
  const renewals = createRenewals({
    registry,
    perSecond: config.certificates.renewalsPerSecond,
    notify: (device, notice) =>
      broker.retain(renewalNoticeTopic(device), Buffer.from(notice === undefined ? '' : JSON.stringify(notice))),
    now,
    log: log.child({ room: 'enroll' }),
  });
  const noticeStays = (error: unknown) => log.error({ err: error }, 'notice of a renewal stays');
  const expiry = opened.add(
    createExpiryWatch({ registry, told: () => void events.look(), now, log: log.child({ room: 'enroll' }) }),
  );
  const mqttUrl = `mqtts://${publicHost}:${broker.port}`;
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
        renewals.renewed(identity.id, serial).catch(noticeStays);
      },
      onForked: (identity) =>
        void answerFork(identity, { registry, response: config.clones.response, told: () => void events.look(), log }),
      limits: config.enroll.limits,
      now,
      log: log.child({ room: 'enroll' }),
    }),
  );
  const enrollUrl = `https://${publicHost}:${enroll.port}`;
  const operators = opened.add(
    await createConsole({
      socketPath: data.socket,
      host: config.console.host,
      port: config.console.port,
      publicHosts: config.publicHosts,
      tls: authority.serverCredentials('console'),
      operatorKeyFile: data.operatorKeyFile,
      registry,
      telemetry,
      events: events.log,
      sinks,
      fleet: {
        ca: caControl({ authority, registry, renewals, broker, now }),
        certificates: () => (Object.keys(authority.serverFaults()).length === 0 ? 'ok' : 'refused'),
        renewals,
        mintTokenText: ({ record, secret }) =>
          formatBootstrapToken({ id: record.id, secret, rootSha256: authority.rootSha256, enrollUrl }),
        issueService: ({ name, csrPem, actor }) =>
          issueServiceCertificate({ name, csr: csrPem, actor }, { authority, registry }),
        trustBundlePem: () => authority.trustBundlePem,
        checkPolicy,
        explain: async (identity, verb, topic) => broker.explain(await subjectOf(identity, registry), verb, topic),
        sessions: () => broker.sessions(),
        counters: () => ({
          ...broker.counters(),
          ...enroll.counters(),
          ...expiry.counters(),
          ...events.counters(),
          ...sinks.counters(),
        }),
      },
      version,
      now,
      log: log.child({ room: 'console' }),
    }),
  );

  // A device learns of CAs to come before they count.
  let told = '';
  const putTrust = async (): Promise<void> => {
    writeFileSync(data.trustBundle, authority.rootPem, { mode: 0o644 });
    broker.replaceTls(authority.serverCredentials('broker'), authority.issuersPem);
    if (told === authority.trustBundlePem) return;
    told = authority.trustBundlePem;
    await broker.retain(TRUST_BUNDLE_TOPIC, Buffer.from(told));
  };
  await putTrust();
  authority.onTrustChange(putTrust);
  renewals.resume().catch((error: unknown) => log.error({ err: error }, 'renewals were not told again'));

  await carryOutStandings(broker, registry);

  // Introductions. A revocation isn't over before its sessions are gone and the published list says so.
  registry.onRevocation(({ holder, serials }) => {
    if (holder.kind !== 'device') return;
    for (const serial of serials) renewals.renewed(holder.id, serial).catch(noticeStays);
  });
  const listAnew = () => {
    authority.refreshCrl().catch((error: unknown) => log.error({ error }, 'revocation list was not rebuilt'));
  };
  introduceStanding({
    registry,
    broker,
    revoked: () => {
      void events.look();
      listAnew();
    },
    changed: ({ act }) => {
      void events.look();
      // Certificates of a suspended device are on hold, until it is anything else.
      if (act === 'suspend' || act === 'resume' || act === 'quarantine') listAnew();
    },
    log,
  });
  // Services hear of events when they are kept, and no more when the broker is about to close.
  const stopTelling = events.log.follow({}, ({ type, name, json }) => {
    const topic = lifecycleTopic(type, name === NOBODY ? undefined : name);
    void broker.publish(topic, Buffer.from(json), type === 'presence.connect_failed' ? 0 : 1);
  });
  opened.add({ close: async () => stopTelling() });
  authority.onServerCredentials('broker', (credentials) => broker.replaceTls(credentials));
  authority.onServerCredentials('console', (credentials) => operators.replaceTls(credentials));

  return {
    enrollUrl,
    mqttUrl,
    consoleUrl: operators.url,
    certificateStatusUrl: statusUrl,
    socket: data.socket,
    trustBundle: data.trustBundle,
    close: () => opened.close(),
  };
}

/** A server that ended between a change of standing and what follows from it does the rest when it starts. */
async function carryOutStandings(broker: Broker, registry: Registry): Promise<void> {
  const services = await registry.listServices();
  for (const identity of broker.owners()) {
    const record =
      identity.kind === 'device'
        ? await registry.findDevice(identity.id)
        : services.find(({ name }) => name === identity.name);
    if (record === undefined || record.status === 'revoked') await broker.disconnect(identity, 'revoked');
    else if (record.status === 'suspended') await broker.disconnect(identity, 'suspended');
    else if (record.status === 'quarantined') await broker.reauthorize(await subjectOf(identity, registry));
  }
}

/** What the access rules need to know of an identity. Problem `device_unknown` for a device that never was. */
async function subjectOf(identity: Identity, registry: Registry): Promise<Subject> {
  if (identity.kind === 'service') return { identity, group: DEFAULT_GROUP, labels: {} };
  const device = await registry.findDevice(identity.id);
  if (device === undefined) throw new Problem('device_unknown');
  const { group, labels, status } = device;
  return { identity, group, labels, ...(status === 'quarantined' && { isQuarantined: true }) };
}

const DEVICES_AT_ONCE = 10_000;

/** Who is in a group now. */
async function devicesOf(name: string, registry: Registry): Promise<readonly string[]> {
  const group = parseGroupName(name);
  const found: string[] = [];
  for (let after = ''; group !== undefined; ) {
    const page = await registry.listDevices({ group, after, limit: DEVICES_AT_ONCE });
    found.push(...page.map(({ id }) => id));
    after = found.at(-1) ?? '';
    if (page.length < DEVICES_AT_ONCE) break;
  }
  return found;
}

/** What was opened, closed in the reverse order, once. */
class OpenParts {
  readonly #parts: { close(): Promise<void> }[] = [];
  #closing: Promise<void> | undefined;

  add<Part extends { close(): Promise<void> }>(part: Part): Part {
    this.#parts.push(part);
    return part;
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (const part of this.#parts.reverse()) {
      await part.close().catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw new Problem('internal', { reason: 'a part did not close', cause: failures[0] });
  }
}

function hostInUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
