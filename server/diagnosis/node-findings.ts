/** What the doctor finds out about the threads that serve MQTT, and about the servers that share a store. */

import { availableParallelism } from 'node:os';
import type { Finding, NodeView } from '../../console/index.ts';
import { canShareListener } from '../config/workers.ts';
import { ok, warning } from './machine-findings.ts';

/** A thread that is busier than this part of its time answers late. */
const BUSY = 0.8;

/** `cores`: of this machine. */
export function nodeFinding(
  nodes: readonly NodeView[],
  cores = availableParallelism(),
  canShare = canShareListener(),
): Finding {
  if (nodes.some(({ server }) => server !== undefined)) return fleetFinding(nodes);
  const isSingle = nodes.every(({ kind }) => kind === 'process');
  const busiest = nodes.reduce<NodeView | undefined>(
    (most, node) => ((node.eventLoopBusy ?? 0) > (most?.eventLoopBusy ?? -1) ? node : most),
    undefined,
  );
  const serving = nodes.filter(({ state }) => state === 'serving').length;
  const percent = Math.round((busiest?.eventLoopBusy ?? 0) * 100);
  const found = isSingle
    ? `the main thread serves MQTT, ${percent} % busy`
    : `${serving} of ${nodes.length} serve MQTT; the busiest is ${busiest?.name ?? 'none'}, ${percent} % busy`;
  const absent = nodes.filter(({ state }) => state === 'stopped' || state === 'restarting');
  if (absent.length > 0) {
    const names = absent.map(({ name, state }) => `${name} is ${state}`).join(', ');
    return warning('workers', `${found}; ${names}`, 'one that is stopped was drained, and starts with the server');
  }
  const crashed = nodes.filter(({ crashes }) => crashes > 0);
  if (crashed.length > 0) {
    const names = crashed.map(({ name, crashes }) => `${name} ${crashes} times`).join(', ');
    return warning('workers', `${found}; ended by an error: ${names}`, 'report the error, which is in the log');
  }
  if ((busiest?.eventLoopBusy ?? 0) > BUSY && cores > nodes.length && canShare) {
    return warning('workers', found, `this machine has ${cores} cores: --workers ${cores} (docs/workers.md)`);
  }
  return ok('workers', found);
}

function fleetFinding(all: readonly NodeView[]): Finding {
  const nodes = all.filter(({ state }) => state !== 'removed');
  const serving = nodes.filter(({ state }) => state === 'serving').length;
  const found = `${serving} of ${nodes.length} nodes serve`;
  const others = nodes.filter(({ state }) => state !== 'serving');
  const busy = nodes.filter(({ eventLoopBusy = 0 }) => eventLoopBusy > BUSY);
  if (others.length > 0) {
    const names = others.map(({ name, state }) => `${name} is ${state}`).join(', ');
    const fix =
      'start a node that is gone, "rollcall node undrain" one that is drained, "rollcall node remove" one that stays away';
    return warning('nodes', `${found}; ${names}`, fix);
  }
  if (busy.length > 0) {
    const names = busy
      .map(({ name, eventLoopBusy = 0 }) => `${name} is ${Math.round(eventLoopBusy * 100)} % busy`)
      .join(', ');
    return warning('nodes', `${found}; ${names}`, 'add a node (docs/grow-beyond-one-machine.md)');
  }
  return ok('nodes', found);
}
