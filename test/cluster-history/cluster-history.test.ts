/**
 * A short history of nodes under faults, and what the checker says of one when a part of the nodes is broken. `.ci/cluster` is the long run,
 * with all faults.
 */

import type { StoredIdentity } from '@rollcall/device-sdk';
import { expect, it, onTestFinished } from 'vitest';
import { areClientsRequired } from '../fixtures/client-programs.ts';
import { CuttableHosts } from '../fixtures/cuttable-hosts.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { checkHistory, type Verdict, violationsOf } from './check-history.ts';
import type { FaultName } from './faults.ts';
import { PublishingDevice } from './publishing-device.ts';
import { HistoryRecorder } from './recorder.ts';
import { runScenario } from './scenario.ts';
import { ServedCluster, type ServedClusterOptions } from './served-cluster.ts';
import type { ServedNode } from './served-node.ts';

const LONGEST_MS = 170_000;

const IGNORE_LOST_QUORUM = new URL('ignore-lost-quorum.ts', import.meta.url);
const IGNORE_FENCES = new URL('ignore-fences.ts', import.meta.url);

async function verdictOf(
  options: Pick<ServedClusterOptions, 'nodes' | 'broken' | 'ownHosts'> & { readonly faults: readonly FaultName[] },
): Promise<Verdict> {
  const faults = [...options.faults];
  const { verdict, stuck } = await runScenario({
    ...{ standbys: 2, devices: 4, every: 25, seed: 1, pause: 500, longest: LONGEST_MS },
    ...options,
    nextFault: () => faults.shift(),
  });
  expect(stuck).toEqual([]);
  expect(verdict.acknowledged).toBeGreaterThan(50);
  return verdict;
}

describeWithClients('nodes over a database with two standbys', ['postgres'], () => {
  it('lose nothing and store nothing twice when a node and the primary are killed and commits are cancelled', async () => {
    const verdict = await verdictOf({ nodes: ['a', 'b', 'c'], faults: ['kill-node', 'cancel-commits'] });
    expect(violationsOf(verdict)).toEqual([]);
  });

  it('do nothing for a device that is revoked while its node is cut off, and go on when it is healed', async ({
    skip,
  }) => {
    const missing = CuttableHosts.missing();
    if (missing !== undefined && !areClientsRequired) return skip(missing);
    const verdict = await verdictOf({
      ...{ nodes: ['a', 'b'], ownHosts: true },
      faults: ['revoke-on-cut-node', 'cut-node'],
    });
    expect(violationsOf(verdict)).toEqual([]);
    return undefined;
  });

  it('lose what they acknowledged when they ignore the warning of a lost quorum, and the checker finds it', async () => {
    const verdict = await verdictOf({ nodes: ['a'], broken: IGNORE_LOST_QUORUM, faults: ['cancel-commits'] });
    expect(verdict.lost.length).toBeGreaterThan(0);
  });
});

describeWithClients('nodes that take over sessions without fences', ['postgres'], () => {
  it('serve a device twice after one of them was frozen, and the checker finds it', async () => {
    const options = { standbys: 0, nodes: ['a', 'b'], broken: IGNORE_FENCES, longest: LONGEST_MS };
    const cluster = await ServedCluster.start(options);
    onTestFinished(() => cluster.dispose());
    const [a, b] = cluster.nodes as [ServedNode, ServedNode];
    const recorder = new HistoryRecorder();
    const [identity] = (await cluster.enroll(['dev-1'])) as [StoredIdentity];
    const device = new PublishingDevice({
      ...{ identity, nodes: cluster.nodes, recorder, every: 25 },
      // It goes on with a connection that does not answer.
      ...{ random: () => 0.9, keys: 'numbered', session: 'clean', protocolVersion: 5 },
    });
    const answers = (node: string, after = 0) =>
      recorder.history.slice(after).filter((entry) => entry.type === 'acknowledged' && entry.node === node).length;
    void device.connect(b);
    await expect.poll(() => answers('b')).toBeGreaterThan(5);
    b.signal('SIGSTOP');
    while (answers('a') < 5) await device.connect(a, 2_000);
    const after = recorder.history.length;
    void device.connect(a);
    b.signal('SIGCONT');
    await expect.poll(() => answers('b', after)).toBeGreaterThan(10);
    device.end();
    const { secondOwners } = checkHistory(recorder.history, { messages: new Map(), tokens: [] });
    expect(secondOwners).not.toEqual([]);
  });
});
