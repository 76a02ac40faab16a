/**
 * Faults of the network alone: a node is cut off and healed later, while its process and its connections stay as they are on both sides.
 * Each waits until the node is heard again, and says how long that took.
 */

import { setTimeout as passed } from 'node:timers/promises';
import type { NetworkName } from '../fixtures/cuttable-hosts.ts';
import type { FaultContext } from './faults.ts';
import { isRevocable, revoke } from './fleet-events.ts';
import type { ServedNode } from './served-node.ts';

/** Its clients still reach the node. */
export const FROM_DATABASE: readonly NetworkName[] = ['database'];
export const FROM_ALL: readonly NetworkName[] = ['clients', 'database'];

/** Then the other nodes know that it is deaf, ms. */
const KNOWN_AFTER_MS = 2_500;
/** Longer than a node is deaf before it closes its sockets, ms. */
const CLOSED_AFTER_MS = 33_000;
const HEARD_WITHIN_MS = 60_000;
const POLL_MS = 100;
const CONNECTED_WITHIN_MS = 10_000;

/** For shorter and longer than its lease lasts. */
export async function cutNode(context: FaultContext, networks: readonly NetworkName[]): Promise<void> {
  const node = anyOf(context);
  await whileCut(context, node, networks, () => passed(context.random() * 8_000));
}

/**
 * A device is revoked at another node while its own is cut off from the database, which the device still reaches: it goes on with its
 * connection there. `until`: how long the node is cut off.
 */
export async function revokeOnCutNode(context: FaultContext, until: 'it is deaf' | 'it has closed'): Promise<void> {
  const { cluster, devices, random } = context;
  const chosen = await soon(() => {
    const connected = devices.flatMap((device) => {
      const node = cluster.nodes.find((one) => device.isConnectedTo(one));
      return node === undefined || !isRevocable(context, device) ? [] : [{ device, node }];
    });
    return connected[Math.floor(random() * connected.length)];
  }, CONNECTED_WITHIN_MS);
  const node = chosen?.node ?? anyOf(context);
  const other = cluster.nodes.find((one) => one !== node && one.isRunning);
  if (chosen !== undefined) chosen.device.isPatient = true;
  await whileCut(context, node, FROM_DATABASE, async () => {
    await passed(KNOWN_AFTER_MS);
    if (chosen !== undefined && other !== undefined) await revoke(context, chosen.device, other, [node.name]);
    await passed(until === 'it is deaf' ? KNOWN_AFTER_MS : CLOSED_AFTER_MS - KNOWN_AFTER_MS);
  });
}

function anyOf({ cluster: { nodes }, random }: FaultContext): ServedNode {
  return nodes[Math.floor(random() * nodes.length)] as ServedNode;
}

async function whileCut(
  { cluster, recorder, progress }: FaultContext,
  node: ServedNode,
  networks: readonly NetworkName[],
  action: () => Promise<void>,
): Promise<void> {
  if (cluster.hosts === undefined) throw new Error('expected nodes on hosts of their own');
  const host = cluster.hosts.host(node.name);
  const cutAt = recorder.now();
  host.cut(networks);
  try {
    await action();
  } finally {
    host.heal();
  }
  const healedAt = recorder.now();
  const other = cluster.nodes.find((one) => one !== node && one.isRunning);
  const isHeard = async () =>
    (await other?.operator.listNodes())?.find(({ name, state }) => name === node.name && state === 'serving');
  const isReady = () => node.operator.ready();
  for (const isSo of [isHeard, isReady] as const) {
    if ((await soon<unknown>(isSo, HEARD_WITHIN_MS)) === undefined) {
      throw new Error(`node ${node.name} is not heard ${HEARD_WITHIN_MS / 1_000} s after it was healed`);
    }
  }
  const [cutFor, heardAfter] = [healedAt - cutAt, recorder.now() - healedAt].map((ms) => (ms / 1_000).toFixed(1));
  progress?.(
    `  ${node.name} was cut off from ${networks.join(' and ')} for ${cutFor} s, and is heard ${heardAfter} s later`,
  );
}

/** Undefined when it is not found in time. What is thrown meanwhile is not so yet. */
async function soon<Value>(
  find: () => Value | undefined | Promise<Value | undefined>,
  within: number,
): Promise<Value | undefined> {
  const until = performance.now() + within;
  while (performance.now() < until) {
    const found = await Promise.resolve()
      .then(find)
      .catch(() => undefined);
    if (found !== undefined) return found;
    await passed(POLL_MS);
  }
  return undefined;
}
