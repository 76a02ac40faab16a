/** What happens to a fleet while faults are injected: two connections of one client id, a token that is used by too many, a revocation. */

import { setTimeout as passed, setImmediate as turned } from 'node:timers/promises';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { type BootstrapToken, formatBootstrapToken, parseBootstrapToken } from '@rollcall/protocol';
import type { FaultContext } from './faults.ts';
import type { PublishingDevice } from './publishing-device.ts';
import type { HistoryRecorder } from './recorder.ts';
import type { ServedNode } from './served-node.ts';

const CLONED_MS = 3_000;
const TOKEN_USES = 3;
const ENROLLMENTS_PER_NODE = 3;
/** Turns of the event loop in which everything is read that has reached this process. */
const TURNS = 20;

/** Two nodes get a connection of one client id at once, beside the one that its device has. */
export async function cloneDevice({ cluster, devices, random }: FaultContext): Promise<void> {
  const device = devices[Math.floor(random() * devices.length)];
  const nodes = cluster.nodes.filter(({ isRunning }) => isRunning).slice(0, 2);
  await Promise.all(nodes.map((node) => device?.connect(node, CLONED_MS)));
}

/** Devices enroll at all nodes at once with a token for fewer of them. */
export async function exhaustToken({ cluster, recorder }: FaultContext): Promise<void> {
  const { token, text } = await cluster.anyNode.operator.createToken({ uses: TOKEN_USES });
  const parsed = parseBootstrapToken(text) as BootstrapToken;
  const enrolling = cluster.nodes.flatMap(({ name: node, enrollUrl }) =>
    Array.from({ length: ENROLLMENTS_PER_NODE }, async (_, index) => {
      if (enrollUrl === undefined) return;
      const device = `of-${token.id}-${node}-${index}`;
      const own = formatBootstrapToken({ ...parsed, enrollUrl });
      await enrollOnce(memoryIdentityStore(), { token: own, deviceId: device });
      recorder.record({ type: 'enrolled', device, node, token: token.id });
    }),
  );
  await Promise.allSettled(enrolling);
}

export async function revokeDevice(context: FaultContext): Promise<void> {
  const left = context.devices.filter((device) => isRevocable(context, device));
  const device = left[Math.floor(context.random() * left.length)];
  if (device !== undefined) await revoke(context, device, context.cluster.anyNode);
}

/** At most half of the devices are revoked. */
export function isRevocable({ devices }: FaultContext, { isRevoked }: PublishingDevice): boolean {
  return !isRevoked && devices.filter((device) => !device.isRevoked).length > devices.length / 2;
}

/** It goes on publishing and connecting, which has to be of no use. `cut`: nodes that are deaf, as the others know. */
export async function revoke(
  { recorder }: FaultContext,
  device: PublishingDevice,
  { name: node, operator }: ServedNode,
  cut: readonly string[] = [],
): Promise<void> {
  const { id } = device;
  device.isRevoked = true;
  recorder.record({ type: 'revocation ordered', device: id, node, cut });
  const proof = await operator.revokeDevices({ ids: [id], reason: 'keyCompromise' });
  const nodes = proof.nodes.map(({ name, state, closedBy }) => ({
    ...{ name, state },
    ...(closedBy !== undefined && { closedBy: recorder.timeOf(Date.parse(closedBy)) }),
  }));
  recorder.record({ type: 'proof', device: id, node, confirmed: proof.brokersConfirmed, nodes });
  await drain(recorder, id);
}

async function drain(recorder: HistoryRecorder, device: string): Promise<void> {
  for (let turn = 0; turn < TURNS; turn += 1) await turned();
  await passed(TURNS);
  recorder.record({ type: 'drained', device });
}
