/** Opens the servers of a node: broker, EST server and console, with what counts and shows their work. */

import { serverUrl } from '@rollcall/protocol';
import { type Broker, MAIN_NODE } from '../broker/index.ts';
import { type ClockState, type Console, createConsole } from '../console/index.ts';
import {
  type Authority,
  createEnrollServer,
  createExpiryList,
  createExpiryMonitor,
  createRenewalSchedule,
  type EnrollServer,
  type RenewalSchedule,
} from '../enroll/index.ts';
import { enrollUrlOf, mayReportExpiry, noEnrollServer } from './cluster/node-parts.ts';
import type { ServerContext } from './context.ts';
import { examineServer } from './diagnosis/server-findings.ts';
import { collectTelemetry } from './metrics.ts';
import { type OpenBroker, openBroker } from './open-broker.ts';
import type { OpenParts } from './open-parts.ts';
import { createFleetTelemetry } from './overview/fleet-telemetry.ts';
import { createOverviewMonitor } from './overview/overview.ts';
import { PresenceRecorder } from './presence-recorder.ts';
import { consoleOptions, enrollOptions, renewalOptions } from './server-options.ts';
import { Simulations } from './simulations/simulations.ts';
import type { Stores } from './store-options.ts';

export interface Servers {
  readonly broker: Broker;
  readonly nodes: OpenBroker['nodes'];
  readonly enroll: EnrollServer;
  readonly renewals: RenewalSchedule;
  readonly console: Console;
  readonly mqttUrl: string;
  readonly enrollUrl: string;
}

/** Opens the broker, then the EST server, then the console, because each publishes the address of the previous one. */
export async function openServers(
  context: ServerContext,
  stores: Stores,
  { authority, clock }: { readonly authority: Authority; readonly clock: () => ClockState },
  opened: OpenParts,
): Promise<Servers> {
  const { data, publicHost, metrics, now, log } = context;
  const { registry, telemetry, events, sinks } = stores;
  const name = context.cluster?.node ?? MAIN_NODE;
  const presence = opened.add(
    new PresenceRecorder({ registry, broker: name, log: log.child({ component: 'presence' }) }),
  );
  await presence.start();
  const { broker, nodes, questions } = await openBroker(context, stores, { authority, presence }, opened);
  const mqttUrl = serverUrl('mqtts', publicHost, broker.port || context.config.mqtt.port);
  const renewals = createRenewalSchedule(renewalOptions(context, stores, broker));
  const onRecorded = () => void events.pollAudit();
  const expiry = opened.add(
    createExpiryMonitor({
      ...{ registry, authority, onRecorded, now },
      mayReport: mayReportExpiry(context, opened),
      log: log.child({ component: 'enroll' }),
    }),
  );
  const enroll = opened.add(
    context.config.node.roles.includes('enroll')
      ? await createEnrollServer(enrollOptions(context, stores, { authority, renewals, mqttUrl }))
      : noEnrollServer(context),
  );
  const enrollUrl = enrollUrlOf(context, enroll.port);
  metrics.collectFrom('nodes', nodes); // Asks the nodes for what the broker has counted.
  metrics.collectFrom('broker', broker);
  metrics.collectFrom('enroll', enroll);
  metrics.collectFrom('expiry', expiry);
  metrics.collectFrom('events', events);
  metrics.collectFrom('sinks', sinks);
  collectTelemetry(metrics, telemetry);
  const examine = () =>
    examineServer({
      ...{ context, stores, authority, nodes, clock, enrollUrl },
      expiry: createExpiryList({ registry, authority, now }),
      enrollPort: enroll.port,
      mqttPort: broker.port,
    });
  const fleet = questions && { list: () => nodes.list(), questions };
  const overview = opened.add(
    createOverviewMonitor({ context, stores, broker, nodes, enroll, expiry, node: name, examine, fleet }),
  );
  const simulations = opened.add(
    new Simulations({
      directory: data.simulations,
      environment: context.environment,
      registry,
      now,
      log: log.child({ component: 'simulations' }),
    }),
  );
  const console = opened.add(
    await createConsole(
      consoleOptions(context, stores, {
        authority,
        broker,
        presence,
        renewals,
        overview,
        nodes,
        simulations,
        enrollUrl,
        examine,
        questions,
        otherNodes: createFleetTelemetry({ telemetry, sinks }, questions),
        mqttUrl,
        clock,
      }),
    ),
  );
  return { broker, nodes, enroll, renewals, console, mqttUrl, enrollUrl };
}
