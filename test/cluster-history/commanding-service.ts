/** Services that send commands to devices, each over a node of its own, and record each command before it is sent. */

import { setTimeout as passed } from 'node:timers/promises';
import { commandTopic } from '@rollcall/protocol';
import { beginMqtt } from '../fixtures/mqtt.ts';
import { issueService } from '../fixtures/service.ts';
import type { PublishingDevice } from './publishing-device.ts';
import type { HistoryRecorder } from './recorder.ts';
import type { ServedCluster } from './served-cluster.ts';
import type { ServedNode } from './served-node.ts';

/** Between two commands of one service, ms, for each service. */
const EVERY_MS = 50;
/** Of QoS 1: when so many are not answered, all commands are of QoS 0. */
const UNANSWERED_AT_MOST = 20;

export interface Commander {
  readonly node: ServedNode;
  readonly identity: Awaited<ReturnType<typeof issueService>>;
  /** Milliseconds between two of its commands. */
  readonly every: number;
}

export async function issueCommanders({ anyNode: { operator }, nodes }: ServedCluster): Promise<readonly Commander[]> {
  const commanders: Commander[] = [];
  for (const node of nodes) {
    const identity = await issueService({ operator, mqttUrl: '' }, `commander-${node.name}`);
    commanders.push({ node, identity, every: EVERY_MS * nodes.length });
  }
  return commanders;
}

/** It stays at its node also while that one does not answer: a node that acts although it is cut off delivers what comes to it alone. */
export async function sendCommands(
  { node, identity, every }: Commander,
  devices: readonly PublishingDevice[],
  recorder: HistoryRecorder,
  random: () => number,
  signal: AbortSignal,
): Promise<void> {
  let count = 0;
  for (; !signal.aborted; await passed(every)) {
    const { mqttUrl } = node;
    if (mqttUrl === undefined) continue;
    const client = beginMqtt({ ...identity, mqttUrl }, { protocolVersion: 5, connectTimeout: 2_000 });
    let isClosed = false;
    client.once('close', () => {
      isClosed = true;
    });
    let unanswered = 0;
    for (; !isClosed && !signal.aborted; await passed(every)) {
      if (!client.connected) continue;
      const { id } = devices[Math.floor(random() * devices.length)] as PublishingDevice;
      count += 1;
      const key = `c-${node.name}-${count}`;
      recorder.record({ type: 'command sent', device: id, key });
      // Of QoS 0 to every other one: what a node delivers without its store.
      if (count % 2 === 0 || unanswered >= UNANSWERED_AT_MOST) {
        client.publish(commandTopic(id, 'go', key), key, { qos: 0 });
        continue;
      }
      unanswered += 1;
      client.publish(commandTopic(id, 'go', key), key, { qos: 1 }, () => {
        unanswered -= 1;
      });
    }
    client.end(true);
  }
}
