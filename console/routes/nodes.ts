/** Nodes: their list, the drain of one, and its removal. A drain is answered when it has begun, and is audited to its end. */

import type { FastifyInstance } from 'fastify';
import { performAnnouncedAction } from '../../registry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import type { Answer } from '../api/endpoint.ts';
import { nodeEndpoints as endpoints } from '../api/nodes.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { NodeTokenView, NodeView } from '../node-control.ts';
import { pageOf } from '../paging.ts';
import type { RoutesOptions } from './routes.ts';

export function addNodeRoutes(app: FastifyInstance, { registry, controls }: RoutesOptions): void {
  const { nodes } = controls;
  addEndpoint(app, endpoints.listNodes, async () => (await nodes.list()).map(viewNode));
  addEndpoint(app, endpoints.drainNode, async ({ params: { name }, body, actor }) => {
    await nodes.expectDrainable(name);
    const { drainDefaults } = nodes;
    const {
      withinSeconds,
      sessionsPerSecond = drainDefaults.sessionsPerSecond,
      restart = drainDefaults.restart,
    } = body;
    const within = withinSeconds === undefined ? drainDefaults.within : withinSeconds * 1_000;
    const action = {
      name: 'node.drain',
      actor,
      subject: `node/${name}`,
      details: { withinSeconds: within / 1_000, sessionsPerSecond, afterwards: restart ? 'started' : 'stopped' },
      outcome: ({ state }: NodeView) => [{ action: 'node.drained', details: { state } }],
    };
    const begun = Promise.withResolvers<NodeView>();
    performAnnouncedAction(registry, action, () =>
      nodes.drain(name, { within, sessionsPerSecond, restart }, begun.resolve),
    ).catch((error: unknown) => {
      begun.reject(error); // It has no effect where the drain had begun.
      app.log.error({ err: error, node: name }, 'drain of a node failed');
    });
    return viewNode(await begun.promise);
  });
  addEndpoint(app, endpoints.undrainNode, async ({ params: { name }, actor }) => {
    const node = await nodes.undrain(name);
    await registry.recordAction({
      ...{ actor, action: 'node.undrained', subject: `node/${name}`, outcome: 'done', details: { state: node.state } },
    });
    return viewNode(node);
  });
  addEndpoint(app, endpoints.removeNode, async ({ params: { name }, body: { force }, actor }) => {
    await nodes.expectRemovable(name, force);
    const action = {
      name: 'node.remove',
      actor,
      subject: `node/${name}`,
      details: { forced: force ? 'yes' : 'no' },
      outcome: () => [{ action: 'node.removed', details: {} }],
    };
    const removed = await performAnnouncedAction(registry, action, () => nodes.remove(name, { force, actor }));
    const { databaseSql, ...node } = removed;
    return { ...viewNode(node), databaseSql: [...databaseSql] };
  });
  addEndpoint(app, endpoints.listNodeTokens, async ({ query: { after = '', limit }, reply }) => {
    const tokens = await nodes.listTokens({ after, limit });
    return pageOf(reply, tokens, { limit, view: viewToken, cursor: ({ id }) => ({ after: id }) });
  });
  addEndpoint(app, endpoints.revokeNodeToken, async ({ params: { id }, actor }) =>
    viewToken(await nodes.revokeToken(id, actor)),
  );
  addEndpoint(app, endpoints.createNodeToken, async ({ body, actor }) => {
    const { id, secret, expiresAt, withCaKeys } = await controls.nodes.createToken(body, actor);
    return { id, withCaKeys, expiresAt: isoTime(expiresAt), text: controls.formatToken({ record: { id }, secret }) };
  });
}

function viewToken({ createdAt, expiresAt, ...token }: NodeTokenView): Answer<typeof endpoints.revokeNodeToken> {
  return { ...token, createdAt: isoTime(createdAt), expiresAt: isoTime(expiresAt) };
}

function viewNode({ since, eventLoopBusy, server, ...rest }: NodeView): Answer<typeof endpoints.drainNode> {
  return {
    ...rest,
    since: isoTime(since),
    ...(eventLoopBusy !== undefined && { eventLoopBusy }),
    ...(server !== undefined && {
      server: {
        ...server,
        roles: [...server.roles],
        startedAt: isoTime(server.startedAt),
        closedBy: isoTimeIfAny(server.closedBy),
      },
    }),
  };
}
