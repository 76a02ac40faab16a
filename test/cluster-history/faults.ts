/** Faults of a cluster: each is injected and ended, and everything runs again when its promise resolves. */

import { setTimeout as passed } from 'node:timers/promises';
import { cutNode, FROM_ALL, FROM_DATABASE, revokeOnCutNode } from './cut-faults.ts';
import { cloneDevice, exhaustToken, revokeDevice } from './fleet-events.ts';
import type { PublishingDevice } from './publishing-device.ts';
import type { HistoryRecorder } from './recorder.ts';
import type { ServedCluster } from './served-cluster.ts';

export interface FaultContext {
  readonly cluster: ServedCluster;
  readonly devices: readonly PublishingDevice[];
  readonly recorder: HistoryRecorder;
  /** A number of 0 up to 1. */
  readonly random: () => number;
  progress?(line: string): void;
}

export type Fault = (context: FaultContext) => Promise<void>;

/** How long what is broken stays broken, ms: shorter and longer than the lease of a node. */
function aWhile(random: () => number, longest = 4_000): Promise<void> {
  return passed(random() * longest);
}

async function killNode({ cluster: { nodes }, random }: FaultContext): Promise<void> {
  const node = nodes[Math.floor(random() * nodes.length)];
  await node?.end('SIGKILL');
  await aWhile(random);
  await node?.start();
}

/** As a machine that is suspended: its sockets stay open, and it does not know how long it stood still. */
async function freezeNode({ cluster: { nodes }, random }: FaultContext): Promise<void> {
  const node = nodes[Math.floor(random() * nodes.length)];
  node?.signal('SIGSTOP');
  await aWhile(random, 8_000);
  node?.signal('SIGCONT');
}

/** The standby that has most takes its place, the other one follows, and the former primary becomes a standby. */
async function killPrimary({ cluster: { postgres }, random }: FaultContext): Promise<void> {
  const former = postgres.primary;
  await former.kill();
  await aWhile(random);
  await postgres.failOver();
  await aWhile(random);
  await postgres.rejoin(former);
}

async function stopStandbys({ cluster: { postgres }, random }: FaultContext): Promise<void> {
  const { standbys } = postgres;
  await Promise.all(standbys.map((standby) => standby.stop()));
  await aWhile(random);
  await Promise.all(standbys.map((standby) => standby.start()));
}

/**
 * Commits that wait for standbys are cancelled, or their sessions ended: the primary then shows what no other server has. It is killed
 * afterwards, so that all of this is undone.
 */
async function undoCommits(
  { cluster: { postgres } }: FaultContext,
  end: 'pg_cancel_backend' | 'pg_terminate_backend',
): Promise<void> {
  const { standbys, primary } = postgres;
  await Promise.all(standbys.map((standby) => standby.stop()));
  const until = performance.now() + 2_000;
  while (performance.now() < until) {
    await primary.ask(`SELECT ${end}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`);
    await passed(20);
  }
  await primary.kill();
  await Promise.all(standbys.map((standby) => standby.start()));
  await postgres.failOver();
  await postgres.rejoin(primary);
}

/** As the loss of its power. Patroni makes a standby the primary, and the host comes back. */
async function losePrimaryHost({ cluster: { patroni }, random }: FaultContext): Promise<void> {
  const former = await patroni.untilPrimary();
  patroni.killHost(former);
  await patroni.untilPrimary(former);
  await aWhile(random);
  patroni.startHost(former);
  await patroni.untilWhole();
}

/** Patroni starts it again, or makes a standby the primary. */
async function killPostgres({ cluster: { patroni } }: FaultContext): Promise<void> {
  patroni.killPostgres(await patroni.untilPrimary());
  await patroni.untilAnswered();
  await patroni.untilWhole();
}

export const FAULTS = {
  'kill-node': killNode,
  'freeze-node': freezeNode,
  'kill-primary': killPrimary,
  'lose-primary-host': losePrimaryHost,
  'kill-postgres': killPostgres,
  'stop-standbys': stopStandbys,
  'cancel-commits': (context) => undoCommits(context, 'pg_cancel_backend'),
  'end-commits': (context) => undoCommits(context, 'pg_terminate_backend'),
  'cut-node': (context) => cutNode(context, FROM_ALL),
  'cut-node-from-database': (context) => cutNode(context, FROM_DATABASE),
  'revoke-on-cut-node': (context) => revokeOnCutNode(context, 'it is deaf'),
  'revoke-on-closed-node': (context) => revokeOnCutNode(context, 'it has closed'),
  'clone-device': cloneDevice,
  'exhaust-token': exhaustToken,
  'revoke-device': revokeDevice,
} as const satisfies Record<string, Fault>;

export type FaultName = keyof typeof FAULTS;

/** What it needs: nodes on hosts of their own, a database under Patroni, or one that a script fails over. */
export function needOf(name: FaultName): 'hosts' | 'patroni' | 'script' | undefined {
  if (/^cut-|^revoke-on-/.test(name)) return 'hosts';
  if (/^(lose-primary-host|kill-postgres)$/.test(name)) return 'patroni';
  return /-(primary|standbys|commits)$/.test(name) ? 'script' : undefined;
}
