/**
 * Handlers of registry changes: after a commit, the broker ends or restricts the sessions of the identity, and its report is
 * returned to the registry. docs/device-status.md has the table of operations.
 */

import type { Identity } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Broker, Subject } from '../broker/index.ts';
import type { DeviceChange, Registry, TerminationReport } from '../registry/index.ts';
import { subjectOf } from './registry-lookups.ts';

export interface RegistryChangeHandlersOptions {
  /** Names the broker in its reports, unless it names its own nodes; undefined where several nodes share the registry, which knows them. */
  readonly node: string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly registry: Pick<Registry, 'onRevocation' | 'onCertificateRevocation' | 'onDeviceChange' | 'findDevice'>;
  readonly broker: Pick<Broker, 'disconnect' | 'disconnectCertificate' | 'reauthorize'>;
  /** Called after the broker confirmed a revocation. */
  readonly onRevoked: () => void;
  /** Called after the broker confirmed any other change. */
  readonly onChanged: (change: DeviceChange) => void;
  readonly log: Logger;
}

export function connectRegistryChangeHandlers({
  node,
  now,
  registry,
  broker,
  onRevoked,
  onChanged,
  log,
}: RegistryChangeHandlersOptions): void {
  registry.onRevocation(async ({ holder, reason, serials }) => {
    const report = await broker.disconnect(holder, 'revoked');
    log.info({ holder, reason, serials, sessionsClosed: report.sessionsClosed }, 'revoked');
    onRevoked();
    return named(report);
  });
  registry.onCertificateRevocation(async ({ holder, reason, serial }) => {
    const report = await broker.disconnectCertificate(holder, serial);
    log.info({ holder, reason, serial, sessionsClosed: report.sessionsClosed }, 'certificate revoked');
    onRevoked();
    return named(report);
  });
  registry.onDeviceChange(async (change) => {
    const report = await apply(change);
    const { device, operation, status } = change;
    log.info({ device, operation, status, sessionsClosed: report.sessionsClosed }, 'device changed');
    onChanged(change);
    return named(report);
  });

  function named(report: TerminationReport): TerminationReport {
    if (node === undefined || report.nodes !== undefined) return report;
    return { ...report, nodes: [{ name: node, state: 'confirmed', confirmedAt: now() }] };
  }

  function apply({ device, operation }: DeviceChange): Promise<TerminationReport> {
    const identity: Identity = { kind: 'device', id: device };
    if (operation === 'suspend') return broker.disconnect(identity, 'suspended');
    if (operation === 'disconnect') return broker.disconnect(identity, 'operator');
    return reauthorize(identity);
  }

  /** Applies the current status of the device, because another change may have been committed since. */
  async function reauthorize(identity: Extract<Identity, { readonly kind: 'device' }>): Promise<TerminationReport> {
    const device = await registry.findDevice(identity.id);
    if (device === undefined || device.status === 'revoked') return broker.disconnect(identity, 'revoked');
    const { group, labels, status } = device;
    // Also one that a newer release of another node has set.
    if (status !== 'active' && status !== 'quarantined') return broker.disconnect(identity, 'suspended');
    const subject: Subject = { identity, group, labels, ...(status === 'quarantined' && { isQuarantined: true }) };
    return broker.reauthorize(subject);
  }
}

/** Applies changes that a server committed before it was killed. Returns when their sessions are ended or restricted. */
export async function applyUnconfirmedChanges(
  broker: Pick<Broker, 'owners' | 'disconnect' | 'reauthorize'>,
  registry: Registry,
): Promise<void> {
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
