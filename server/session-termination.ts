/**
 * Introduces the registry to the broker: what was committed about an identity is carried out on its sessions, and the
 * broker's word that it was goes back; and what the broker suspects of a device is recorded, and answered as it is set.
 * docs/device-status.md has the table.
 */

import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Broker, CloneSuspicion, Subject } from '../broker/index.ts';
import type { DeviceChange, Registry, TerminationReport } from '../registry/index.ts';

export interface StandingIntroduction {
  readonly registry: Pick<Registry, 'onRevocation' | 'onCertificateRevocation' | 'onDeviceChange' | 'findDevice'>;
  readonly broker: Pick<Broker, 'disconnect' | 'disconnectCertificate' | 'reauthorize'>;
  /** After a broker has confirmed; nobody waits for it. */
  readonly revoked: () => void;
  readonly changed: (change: DeviceChange) => void;
  readonly log: Logger;
}

export function introduceStanding({ registry, broker, revoked, changed, log }: StandingIntroduction): void {
  registry.onRevocation(async ({ holder, reason, serials }) => {
    const report = await broker.disconnect(holder, 'revoked');
    log.info({ holder, reason, serials, sessionsClosed: report.sessionsClosed }, 'revoked');
    revoked();
    return report;
  });
  registry.onCertificateRevocation(async ({ holder, reason, serial }) => {
    const report = await broker.disconnectCertificate(holder, serial);
    log.info({ holder, reason, serial, sessionsClosed: report.sessionsClosed }, 'certificate revoked alone');
    revoked();
    return report;
  });
  registry.onDeviceChange(async (change) => {
    const report = await carryOut(change);
    const { device, operation, status } = change;
    log.info({ device, operation, status, sessionsClosed: report.sessionsClosed }, 'device changed');
    changed(change);
    return report;
  });

  function carryOut({ device, operation }: DeviceChange): Promise<TerminationReport> {
    const identity: Identity = { kind: 'device', id: device };
    if (operation === 'suspend') return broker.disconnect(identity, 'suspended');
    if (operation === 'disconnect') return broker.disconnect(identity, 'operator');
    return reauthorize(identity);
  }

  /** By what the registry says now: another change may have come since. */
  async function reauthorize(identity: Extract<Identity, { readonly kind: 'device' }>): Promise<TerminationReport> {
    const device = await registry.findDevice(identity.id);
    if (device === undefined || device.status === 'revoked') return broker.disconnect(identity, 'revoked');
    if (device.status === 'suspended') return broker.disconnect(identity, 'suspended');
    const { group, labels, status } = device;
    const subject: Subject = { identity, group, labels, ...(status === 'quarantined' && { isQuarantined: true }) };
    return broker.reauthorize(subject);
  }
}

export interface SuspicionAnswer {
  readonly registry: Pick<Registry, 'recordAction' | 'applyDeviceOperation' | 'findDevice'>;
  readonly response: 'report' | 'quarantine';
  readonly told: () => void;
  readonly log: Logger;
}

/** A certificate that another has superseded asks for one more; the registry has recorded it. */
export async function answerFork(
  identity: Identity,
  { registry, response, told, log }: SuspicionAnswer,
): Promise<void> {
  told();
  if (response === 'report' || identity.kind === 'service') return;
  try {
    if ((await registry.findDevice(identity.id))?.status !== 'active') return;
    await registry.applyDeviceOperation([identity.id], { kind: 'quarantine' }, 'server/enroll');
  } catch (error) {
    log.error({ err: error, identity: formatIdentity(identity) }, 'fork of a renewal could not be answered');
  }
}

/** Records the suspicion, which makes it an event; a service is never put in quarantine. */
export async function answerSuspicion(
  { identity, evidence, addresses, serials, takeovers }: CloneSuspicion,
  { registry, response, told, log }: SuspicionAnswer,
): Promise<void> {
  const actor = 'server/broker';
  const subject = formatIdentity(identity);
  try {
    const details = { evidence, addresses: addresses.join(' '), serials: serials.join(' '), takeovers, response };
    await registry.recordAction({
      actor,
      action: `${identity.kind}.clone_suspected`,
      subject,
      outcome: 'done',
      details,
    });
    told();
    if (response === 'report' || identity.kind === 'service') return;
    // What is held back more strictly already stays so.
    if ((await registry.findDevice(identity.id))?.status !== 'active') return;
    await registry.applyDeviceOperation([identity.id], { kind: 'quarantine' }, actor);
  } catch (error) {
    log.error({ err: error, identity: subject }, 'suspicion of a clone could not be answered');
  }
}
