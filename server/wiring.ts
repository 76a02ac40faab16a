/**
 * What follows from what: a changed trust, a revocation, a changed standing and a kept event are told to those whom they
 * concern. First whatever changed while no server ran, then each change as it comes.
 */

import { writeFileSync } from 'node:fs';
import { lifecycleTopic, TRUST_BUNDLE_TOPIC, UNKNOWN_NAME } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Broker } from '../broker/index.ts';
import type { Registry } from '../registry/index.ts';
import type { FleetAuthority } from './certificate-authority.ts';
import type { FleetDoors } from './listeners.ts';
import type { OpenParts } from './open-parts.ts';
import { subjectOf } from './registry-lookups.ts';
import { introduceStanding } from './session-termination.ts';
import type { FleetMemory } from './stores.ts';

export interface FleetIntroductions {
  readonly memory: Pick<FleetMemory, 'registry' | 'events'>;
  readonly authority: FleetAuthority['authority'];
  readonly doors: FleetDoors;
  /** Where the root lies for clients of this machine. */
  readonly trustBundle: string;
  readonly log: Logger;
}

export async function introduceRooms(
  { memory: { registry, events }, authority, doors, trustBundle, log }: FleetIntroductions,
  opened: OpenParts,
): Promise<void> {
  const { broker, renewals, operators, renewed } = doors;
  // A device learns of CAs to come before they count.
  let told = '';
  const putTrust = async (): Promise<void> => {
    writeFileSync(trustBundle, authority.trust.rootPem, { mode: 0o644 });
    broker.replaceTls(authority.serverCertificates.current('broker'), authority.trust.issuersPem);
    if (told === authority.trust.devicePem) return;
    told = authority.trust.devicePem;
    await broker.retain(TRUST_BUNDLE_TOPIC, Buffer.from(told));
  };
  await putTrust();
  authority.trust.onChange(putTrust);
  renewals.republishNotices().catch((error: unknown) => log.error({ err: error }, 'renewals were not told again'));

  await carryOutStandings(broker, registry);

  // Introductions. A revocation isn't over before its sessions are gone and the published list says so.
  registry.onRevocation(({ holder, serials }) => {
    if (holder.kind !== 'device') return;
    for (const serial of serials) renewed(holder.id, serial);
  });
  const listAnew = () => {
    authority.status.refresh().catch((error: unknown) => log.error({ err: error }, 'revocation list was not rebuilt'));
  };
  introduceStanding({
    registry,
    broker,
    revoked: () => {
      void events.pollAudit();
      listAnew();
    },
    changed: ({ operation }) => {
      void events.pollAudit();
      // Certificates of a suspended device are on hold, until it is anything else.
      if (operation === 'suspend' || operation === 'resume' || operation === 'quarantine') listAnew();
    },
    log,
  });
  // Services hear of events when they are kept, and no more when the broker is about to close.
  const stopTelling = events.log.follow({}, ({ type, name, json }) => {
    const topic = lifecycleTopic(type, name === UNKNOWN_NAME ? undefined : name);
    void broker.publish(topic, Buffer.from(json), type === 'presence.connect_failed' ? 0 : 1);
  });
  opened.add({ close: async () => stopTelling() });
  authority.serverCertificates.onChange('broker', (credentials) => broker.replaceTls(credentials));
  authority.serverCertificates.onChange('console', (credentials) => operators.replaceTls(credentials));
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
