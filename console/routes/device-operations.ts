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
import { deviceActEndpoints as endpoints } from '../api/device-operations.ts';
import type { Answer, Checked } from '../api/endpoint.ts';
import { serve } from '../application.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

export type ActAnswer = Answer<typeof endpoints.revokeDevices>;
type ActOrder = Checked<typeof endpoints.suspendDevices, 'body'>;

/** Stands for the confirmation of a dry run, for scripts. */
const YES = 'yes';
const MOST_SHOWN = 1_000;

export function addDeviceActRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  serve(app, endpoints.selectDevices, async ({ body: { act, reason = 'unspecified', ...rest } }) => {
    const selection = await registry.selectDevices(selectorOf(rest), act === 'revoke' ? { act, reason } : { act });
    return viewSelection(act, selection);
  });
  serve(app, endpoints.revokeDevices, async ({ body: { reason, ...rest }, actor }) =>
    carryOut(registry, rest, { act: 'revoke', reason }, actor),
  );
  serve(app, endpoints.suspendDevices, ({ body, actor }) => carryOut(registry, body, { act: 'suspend' }, actor));
  serve(app, endpoints.resumeDevices, ({ body, actor }) => carryOut(registry, body, { act: 'resume' }, actor));
  serve(app, endpoints.quarantineDevices, ({ body, actor }) => carryOut(registry, body, { act: 'quarantine' }, actor));
  serve(app, endpoints.disconnectDevices, ({ body, actor }) => carryOut(registry, body, { act: 'disconnect' }, actor));
  serve(app, endpoints.deleteDevices, ({ body, actor }) => carryOut(registry, body, { act: 'delete' }, actor));
}

async function carryOut(registry: Registry, order: ActOrder, act: DeviceOperation, actor: Actor): Promise<ActAnswer> {
  const { ids } = await confirmed(registry, selectorOf(order), act, order.confirm);
  return proven(registry, ids, act, actor);
}

/** The devices meant, once it is clear that the operator means them. */
export async function confirmed(
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

export async function proven(
  registry: Registry,
  ids: DeviceSelection['ids'],
  order: DeviceOperation,
  actor: Actor,
): Promise<ActAnswer> {
  const start = performance.now();
  const proofs = await registry.applyDeviceOperation(ids, order, actor);
  const tookMs = rounded(performance.now() - start);
  const isFinal = order.act === 'revoke' || order.act === 'delete';
  return {
    act: order.act,
    devices: proofs.map((proof) => viewProof(proof, isFinal)),
    revokedAt: isFinal ? isoTimeIfAny(latest(proofs.map(({ at }) => at))) : undefined,
    lastMessageAt: isoTimeIfAny(latest(proofs.map(({ lastMessageAt }) => lastMessageAt))),
    sessionsClosed: proofs.reduce((sum, { sessionsClosed }) => sum + sessionsClosed, 0),
    brokersConfirmed: proofs.reduce((least, { brokersConfirmed }) => Math.min(least, brokersConfirmed), Infinity),
    propagationMs: rounded(proofs.reduce((most, { propagationMs }) => Math.max(most, propagationMs), 0)),
    tookMs,
  };
}

function viewProof(proof: DeviceOperationResult, isFinal: boolean): ActAnswer['devices'][number] {
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
  return { act, count: ids.length, devices: ids.slice(0, MOST_SHOWN), confirmation };
}

function selectorOf(order: Omit<ActOrder, 'confirm'>): DeviceSelector {
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
