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
import { type Commander, issueCommanders, sendCommands } from './commanding-service.ts';
import { FROM_DATABASE } from './cut-faults.ts';
import type { FaultName } from './faults.ts';
import { revoke } from './fleet-events.ts';
import { PublishingDevice } from './publishing-device.ts';
import { HistoryRecorder } from './recorder.ts';
import { runScenario } from './scenario.ts';
import { SEEDED_FAULTS } from './seeded-faults.ts';
import { ServedCluster, type ServedClusterOptions } from './served-cluster.ts';
import type { ServedNode } from './served-node.ts';

const LONGEST_MS = 170_000;

async function verdictOf(
  options: Pick<ServedClusterOptions, 'nodes' | 'broken' | 'program' | 'ownHosts'> & {
    readonly faults: readonly FaultName[];
  },
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
    const seeded = SEEDED_FAULTS['ignore-lost-quorum'];
    const verdict = await verdictOf({ nodes: ['a'], ...seeded, faults: ['cancel-commits'] });
    expect(verdict.lost.length).toBeGreaterThan(0);
  });
});

describeWithClients('nodes that take over sessions without fences', ['postgres'], () => {
  it('serve a device twice after one of them was frozen, and the checker finds it', async () => {
    const options = { standbys: 0, nodes: ['a', 'b'], ...SEEDED_FAULTS['ignore-fences'], longest: LONGEST_MS };
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

describeWithClients('nodes that act on although they are cut off', ['postgres'], () => {
  it('deliver to a device after the proof of its revocation, and the checker finds it', async ({ skip }) => {
    const missing = CuttableHosts.missing();
    if (missing !== undefined && !areClientsRequired) return skip(missing);
    const options = { standbys: 0, nodes: ['a', 'b'], ownHosts: true, longest: LONGEST_MS };
    const cluster = await ServedCluster.start({ ...options, ...SEEDED_FAULTS['never-deaf'] });
    onTestFinished(() => cluster.dispose());
    const [a, b] = cluster.nodes as [ServedNode, ServedNode];
    const recorder = new HistoryRecorder();
    const [identity] = (await cluster.enroll(['dev-1'])) as [StoredIdentity];
    const device = new PublishingDevice({
      // It publishes nothing, so that it waits for no answer, and hears commands.
      ...{ identity, nodes: cluster.nodes, recorder, every: LONGEST_MS, random: () => 0.9 },
      ...{ keys: 'numbered', session: 'clean', protocolVersion: 5 },
    });
    const stopped = new AbortController();
    onTestFinished(() => stopped.abort());
    const commanders = (await issueCommanders(cluster)).filter(({ node }) => node === b);
    const [commander] = commanders as [Commander];
    void device.connect(b);
    void sendCommands({ ...commander, every: 25 }, [device], recorder, () => 0, stopped.signal);
    await expect.poll(() => recorder.count('delivered')).toBeGreaterThan(5);

    cluster.hosts?.host('b').cut(FROM_DATABASE);
    const stateOfB = async () => (await a.operator.listNodes()).find(({ name }) => name === 'b')?.state;
    await expect.poll(stateOfB).toBe('deaf');
    await revoke({ cluster, devices: [device], recorder, random: () => 0 }, device, a, ['b']);
    const heard = recorder.count('delivered');
    await expect.poll(() => recorder.count('delivered')).toBeGreaterThan(heard + 5);
    device.end();
    const { afterProof } = checkHistory(recorder.history, { messages: new Map(), tokens: [] });
    expect(afterProof.join('\n')).toMatch(/^dev-1 c-b-\d+ delivered by b/m);
    return undefined;
  });
});
