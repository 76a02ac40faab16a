/** A service that sends commands to devices over any node, and records each before it is sent. */

import { setTimeout as passed } from 'node:timers/promises';
import { commandTopic } from '@rollcall/protocol';
import { beginMqtt } from '../fixtures/mqtt.ts';
import { issueService } from '../fixtures/service.ts';
import type { PublishingDevice } from './publishing-device.ts';
import type { HistoryRecorder } from './recorder.ts';
import type { ServedCluster } from './served-cluster.ts';

const EVERY_MS = 50;
/** It connects to another node after so many commands. */
const COMMANDS_PER_CONNECTION = 200;
const UNANSWERED_AT_MOST = 20;

type Service = Awaited<ReturnType<typeof issueService>>;

export function issueCommander({ anyNode: { operator } }: ServedCluster): Promise<Service> {
  return issueService({ operator, mqttUrl: '' }, 'commander');
}

export async function sendCommands(
  identity: Service,
  cluster: ServedCluster,
  devices: readonly PublishingDevice[],
  recorder: HistoryRecorder,
  random: () => number,
  signal: AbortSignal,
): Promise<void> {
  let count = 0;
  for (; !signal.aborted; await passed(EVERY_MS)) {
    const node = cluster.nodes[Math.floor(random() * cluster.nodes.length)];
    if (node?.mqttUrl === undefined) continue;
    const client = beginMqtt({ ...identity, mqttUrl: node.mqttUrl }, { protocolVersion: 5, connectTimeout: 2_000 });
    let isClosed = false;
    client.once('close', () => {
      isClosed = true;
    });
    let unanswered = 0;
    for (let sent = 0; sent < COMMANDS_PER_CONNECTION && !isClosed && !signal.aborted; await passed(EVERY_MS)) {
      if (!client.connected || unanswered >= UNANSWERED_AT_MOST) {
        sent += 1; // so that it does not wait forever
        continue;
      }
      const { id } = devices[Math.floor(random() * devices.length)] as PublishingDevice;
      count += 1;
      sent += 1;
      unanswered += 1;
      recorder.record({ type: 'command sent', device: id, key: `c-${count}` });
      // Of QoS 0 to every other one: what a node delivers without its store.
      const qos = count % 2 === 0 ? 0 : 1;
      client.publish(commandTopic(id, 'go', `c-${count}`), `c-${count}`, { qos }, () => {
        unanswered -= 1;
      });
    }
    client.end(true);
  }
}
