/** Orders on devices over the registry: whom they mean, whether that was confirmed, and the proof that they were carried out. */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type {
  Actor,
  DeviceOperation,
  DeviceOperationResult,
  DeviceSelection,
  DeviceSelector,
  Registry,
} from '../../registry/index.ts';
import { deviceOperationEndpoints as endpoints } from '../api/device-operation-schemas.ts';
import type { Answer, Checked } from '../api/endpoint.ts';
import { addEndpoint } from '../application.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

export type OperationAnswer = Answer<typeof endpoints.revokeDevices>;
type OperationRequest = Checked<typeof endpoints.suspendDevices, 'body'>;

/** Stands for the confirmation of a dry run, for scripts. */
const YES = 'yes';
const MAX_SHOWN = 1_000;

export function addDeviceOperationRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  addEndpoint(app, endpoints.selectDevices, async ({ body: { act, reason = 'unspecified', ...rest } }) => {
    const selection = await registry.selectDevices(selectorOf(rest), act === 'revoke' ? { act, reason } : { act });
    return viewSelection(act, selection);
  });
  addEndpoint(app, endpoints.revokeDevices, async ({ body: { reason, ...rest }, actor }) =>
    confirmAndApply(registry, rest, { act: 'revoke', reason }, actor),
  );
  addEndpoint(app, endpoints.suspendDevices, ({ body, actor }) =>
    confirmAndApply(registry, body, { act: 'suspend' }, actor),
  );
  addEndpoint(app, endpoints.resumeDevices, ({ body, actor }) =>
    confirmAndApply(registry, body, { act: 'resume' }, actor),
  );
  addEndpoint(app, endpoints.quarantineDevices, ({ body, actor }) =>
    confirmAndApply(registry, body, { act: 'quarantine' }, actor),
  );
  addEndpoint(app, endpoints.disconnectDevices, ({ body, actor }) =>
    confirmAndApply(registry, body, { act: 'disconnect' }, actor),
  );
  addEndpoint(app, endpoints.deleteDevices, ({ body, actor }) =>
    confirmAndApply(registry, body, { act: 'delete' }, actor),
  );
}

async function confirmAndApply(
  registry: Registry,
  order: OperationRequest,
  act: DeviceOperation,
  actor: Actor,
): Promise<OperationAnswer> {
  const { ids } = await confirmSelection(registry, selectorOf(order), act, order.confirm);
  return applyAndReport(registry, ids, act, actor);
}

/** The devices meant, once it is clear that the operator means them. */
export async function confirmSelection(
  registry: Registry,
  selector: DeviceSelector,
  order: DeviceOperation,
  confirm: string | undefined,
): Promise<DeviceSelection> {
  const selection = await registry.selectDevices(selector, order);
  const { length } = selection.ids;
  if (length === 0) throw new Problem('selection_empty');
  if (confirm !== undefined && confirm !== YES && confirm !== selection.confirmation) {
    throw new Problem('confirmation_stale');
  }
  if (confirm === undefined && length > 1) {
    throw new Problem('confirmation_required', {
      detail: `${length} devices are meant; expected the confirmation of a dry run`,
      hint: 'repeat the command with --dry-run, or with --yes',
    });
  }
  return selection;
}

export async function applyAndReport(
  registry: Registry,
  ids: DeviceSelection['ids'],
  order: DeviceOperation,
  actor: Actor,
): Promise<OperationAnswer> {
  const start = performance.now();
  const proofs = await registry.applyDeviceOperation(ids, order, actor);
  const tookMs = rounded(performance.now() - start);
  const isFinal = order.act === 'revoke' || order.act === 'delete';
  return {
    act: order.act,
    devices: proofs.map((proof) => viewResult(proof, isFinal)),
    revokedAt: isFinal ? isoTimeIfAny(latest(proofs.map(({ at }) => at))) : undefined,
    lastMessageAt: isoTimeIfAny(latest(proofs.map(({ lastMessageAt }) => lastMessageAt))),
    sessionsClosed: proofs.reduce((sum, { sessionsClosed }) => sum + sessionsClosed, 0),
    brokersConfirmed: proofs.reduce((least, { brokersConfirmed }) => Math.min(least, brokersConfirmed), Infinity),
    propagationMs: rounded(proofs.reduce((most, { propagationMs }) => Math.max(most, propagationMs), 0)),
    tookMs,
  };
}

function viewResult(proof: DeviceOperationResult, isFinal: boolean): OperationAnswer['devices'][number] {
  const { device, status, at, serials, reason, lastMessageAt, sessionsClosed, brokersConfirmed, propagationMs } = proof;
  return {
    device,
    status,
    at: isoTime(at),
    serials: [...serials],
    reason,
    ...(isFinal && { revokedAt: isoTime(at) }),
    lastMessageAt: isoTimeIfAny(lastMessageAt),
    sessionsClosed,
    brokersConfirmed,
    propagationMs: rounded(propagationMs),
  };
}

function viewSelection(
  act: DeviceOperation['act'],
  { ids, confirmation }: DeviceSelection,
): Answer<typeof endpoints.selectDevices> {
  return { act, count: ids.length, devices: ids.slice(0, MAX_SHOWN), confirmation };
}

function selectorOf(order: Omit<OperationRequest, 'confirm'>): DeviceSelector {
  const { ids, group, labels, token, serial, issuedBefore } = order;
  return {
    ...(ids !== undefined && { ids }),
    ...(group !== undefined && { group }),
    ...(labels !== undefined && { labels }),
    ...(token !== undefined && { token }),
    ...(serial !== undefined && { serial }),
    ...(issuedBefore !== undefined && { issuedBefore: Date.parse(issuedBefore) }),
  };
}

function latest(times: readonly (number | undefined)[]): number | undefined {
  return times.reduce((most, time) => (most === undefined || (time ?? 0) > most ? time : most), undefined);
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
