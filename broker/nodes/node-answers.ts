/** What a node answers to its keeper. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { OpenNode } from '../open-node.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import type { LiveSessions } from '../sessions/live-sessions.ts';
import type { Session } from '../sessions/session.ts';
import type { LaggingMembers } from './lagging-members.ts';
import type { ChannelToKeeper } from './node-calls.ts';
import type { NodeRoutes } from './node-routes.ts';
import type { RemoteDirectory } from './remote-directory.ts';
import { RemoteRecord } from './remote-record.ts';

export interface NodeAnswers {
  readonly channel: ChannelToKeeper;
  readonly live: Pick<LiveSessions, 'find'>;
  readonly routes: NodeRoutes;
  readonly lagging: LaggingMembers;
  readonly directory: RemoteDirectory;
  /** What is asked before the node is open waits for it. */
  readonly node: Promise<OpenNode>;
}

export function answerKeeper({ channel, live, routes, lagging, directory, node }: NodeAnswers): void {
  channel.handle('routes', (changes) => {
    routes.apply(changes);
    return undefined;
  });
  channel.handle('takeOver', async ({ clientId, claim }) => {
    await nextTurn(); // The answer to the claim may have come in the same turn.
    const session = live.find(clientId);
    // A later connection of the client has not made its claim yet.
    if (session?.isClaimed !== true || !hasClaim(session, claim)) return undefined;
    session.end('session_taken_over');
    await session.whenFinished();
    return undefined;
  });
  channel.handle('policyChanged', (scope) => {
    directory.policyChanged(scope);
    return undefined;
  });
  channel.handle('deliverShared', ({ message, share, member, isQueued }) => {
    const session = live.find(member.clientId);
    if (session?.isEnded === false && session.subscriptions.has(share)) {
      session.receiveShared(message, share, member);
      if (session.record instanceof RemoteRecord) lagging.update(session.record);
    } else if (!isQueued) channel.tell('memberGone', { message, share, clientId: member.clientId });
    return undefined;
  });
  channel.handle('apply', async (change) => (await node).apply(change));
  channel.handle('previewPolicy', async ({ scope, document }) => (await node).previewPolicy(scope, document));
  channel.handle('replaceTls', async ({ tls, issuers }) => {
    (await node).replaceTls(tls, issuers);
    return undefined;
  });
  channel.handle('applyLimits', async (limits) => {
    (await node).applyLimits(limits);
    return undefined;
  });
  channel.handle('drain', async (options) => {
    await (await node).drain(options);
    return undefined;
  });
  channel.handle('close', async () => {
    await (await node).close();
    return undefined;
  });
  channel.handle('deliver', () => undefined); // No session is connected yet.
}

function hasClaim({ record }: Session, claim: number): boolean {
  return record instanceof RemoteRecord && record.claim === claim;
}

/** To be called before connections are accepted. */
export function answerDeliveries(channel: ChannelToKeeper, router: MessageRouter): void {
  channel.handle('deliver', (message) => {
    // Numbers of messages are those of the node that they are on.
    const own = { ...message, number: router.nextNumber() };
    return new Promise((resolve) => router.deliver(own, undefined, () => resolve(undefined)));
  });
}
