/** Device operations: selects the devices, checks the operator's confirmation, applies the operation and reports its result. */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import {
  type Actor,
  type DeviceOperation,
  type DeviceOperationKind,
  type DeviceOperationResult,
  type DeviceSelection,
  type DeviceSelector,
  mergeOutcomes,
  type Registry,
  type RevocationReason,
} from '../../registry/index.ts';
import { type Admission, expectRecentSignIn } from '../access.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { deviceOperationEndpoints as endpoints } from '../api/device-operation-schemas.ts';
import type { Answer, Checked } from '../api/endpoint.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { viewOutcomes } from './node-outcomes.ts';
import type { RoutesOptions } from './routes.ts';

export type OperationAnswer = Answer<typeof endpoints.revokeDevices>;
type OperationRequest = Checked<typeof endpoints.suspendDevices, 'body'>;

/** Scripts may send it in place of the confirmation of a dry run. */
const YES = 'yes';
const MAX_SHOWN = 1_000;

export function addDeviceOperationRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  addEndpoint(app, endpoints.selectDevices, async ({ body: { act, reason, ...criteria } }) => {
    const { ids, confirmation } = await registry.selectDevices(selectorOf(criteria), operationOf(act, reason));
    return { act, count: ids.length, devices: ids.slice(0, MAX_SHOWN), confirmation };
  });
  addEndpoint(app, endpoints.revokeDevices, async ({ body: { reason, ...request }, admission }) =>
    confirmAndApply(registry, request, { kind: 'revoke', reason }, admission),
  );
  const withoutReason = {
    suspend: endpoints.suspendDevices,
    resume: endpoints.resumeDevices,
    quarantine: endpoints.quarantineDevices,
    disconnect: endpoints.disconnectDevices,
    delete: endpoints.deleteDevices,
  } as const;
  for (const [kind, endpoint] of Object.entries(withoutReason)) {
    const operation = { kind: kind as keyof typeof withoutReason };
    addEndpoint(app, endpoint, ({ body, admission }) => confirmAndApply(registry, body, operation, admission));
  }
}

export function operationOf(kind: DeviceOperationKind, reason: RevocationReason = 'unspecified'): DeviceOperation {
  return kind === 'revoke' ? { kind, reason } : { kind };
}

async function confirmAndApply(
  registry: Registry,
  request: OperationRequest,
  operation: DeviceOperation,
  admission: Admission,
): Promise<OperationAnswer> {
  const order = { operation, confirm: request.confirm, admission };
  const { ids } = await confirmSelection(registry, selectorOf(request), order);
  return applyAndReport(registry, ids, operation, admission.actor);
}

export interface ConfirmedOrder {
  readonly operation: DeviceOperation;
  readonly confirm: string | undefined;
  /** Of the operator: to revoke or delete more than one device, one who signed in must have done so recently. */
  readonly admission: Admission;
}

/**
 * Returns the selected devices. Problem `confirmation_required` for more than one without a confirmation, `reauthentication_required`
 * for more than one without a recent sign-in.
 */
export async function confirmSelection(
  registry: Registry,
  selector: DeviceSelector,
  { operation, confirm, admission }: ConfirmedOrder,
): Promise<DeviceSelection> {
  const selection = await registry.selectDevices(selector, operation);
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
  if (length > 1 && isFinal(operation)) expectRecentSignIn(admission);
  return selection;
}

function isFinal({ kind }: DeviceOperation): boolean {
  return kind === 'revoke' || kind === 'delete';
}

export async function applyAndReport(
  registry: Registry,
  ids: DeviceSelection['ids'],
  operation: DeviceOperation,
  actor: Actor,
): Promise<OperationAnswer> {
  const start = performance.now();
  const results = await registry.applyDeviceOperation(ids, operation, actor);
  const tookMs = rounded(performance.now() - start);
  const isEnd = isFinal(operation);
  return {
    act: operation.kind,
    devices: results.map((result) => viewResult(result, isEnd)),
    revokedAt: isEnd ? isoTimeIfAny(latest(results.map(({ at }) => at))) : undefined,
    lastMessageAt: isoTimeIfAny(latest(results.map(({ lastMessageAt }) => lastMessageAt))),
    sessionsClosed: results.reduce((sum, { sessionsClosed }) => sum + sessionsClosed, 0),
    brokersConfirmed: results.reduce((least, { brokersConfirmed }) => Math.min(least, brokersConfirmed), Infinity),
    nodes: viewOutcomes(mergeOutcomes(results.map(({ nodes }) => nodes))),
    propagationMs: rounded(results.reduce((most, { propagationMs }) => Math.max(most, propagationMs), 0)),
    tookMs,
  };
}

function viewResult(result: DeviceOperationResult, isEnd: boolean): OperationAnswer['devices'][number] {
  const { device, status, at, serials, reason, lastMessageAt, sessionsClosed, brokersConfirmed, propagationMs } =
    result;
  const unconfirmed = result.nodes.filter(({ state }) => state !== 'confirmed').map(({ name }) => name);
  return {
    device,
    status,
    at: isoTime(at),
    serials: [...serials],
    reason,
    ...(isEnd && { revokedAt: isoTime(at) }),
    lastMessageAt: isoTimeIfAny(lastMessageAt),
    sessionsClosed,
    brokersConfirmed,
    unconfirmed,
    propagationMs: rounded(propagationMs),
  };
}

function selectorOf(criteria: Omit<OperationRequest, 'confirm'>): DeviceSelector {
  const { ids, group, labels, token, serial, issuedBefore } = criteria;
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
