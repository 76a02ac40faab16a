/** Nodes of the broker: their list, and the drain of one. A drain is answered when it has begun, and is audited to its end. */

import type { FastifyInstance } from 'fastify';
import { performAnnouncedAction } from '../../registry/index.ts';
import type { Answer } from '../api/endpoint.ts';
import { nodeEndpoints as endpoints } from '../api/nodes.ts';
import { addEndpoint } from '../application.ts';
import { isoTime } from '../iso-time.ts';
import type { NodeView } from '../node-control.ts';
import type { RoutesOptions } from './routes.ts';

export function addNodeRoutes(app: FastifyInstance, { registry, controls: { nodes } }: RoutesOptions): void {
  addEndpoint(app, endpoints.listNodes, () => nodes.list().map(viewNode));
  addEndpoint(app, endpoints.drainNode, async ({ params: { name }, body, actor }) => {
    nodes.expectDrainable(name);
    const { withinSeconds, sessionsPerSecond = nodes.drainDefaults.sessionsPerSecond, restart } = body;
    const within = withinSeconds === undefined ? nodes.drainDefaults.within : withinSeconds * 1_000;
    const action = {
      name: 'node.drain',
      actor,
      subject: `node/${name}`,
      details: { withinSeconds: within / 1_000, sessionsPerSecond, afterwards: restart ? 'started' : 'stopped' },
      outcome: ({ state }: NodeView) => [{ action: 'node.drained', details: { state } }],
    };
    const begun = Promise.withResolvers<NodeView>();
    performAnnouncedAction(registry, action, () => {
      const drained = nodes.drain(name, { within, sessionsPerSecond, restart });
      begun.resolve(nodes.list().find((node) => node.name === name) as NodeView);
      return drained;
    }).catch((error: unknown) => {
      begun.reject(error); // It has no effect where the drain had begun.
      app.log.error({ err: error, node: name }, 'drain of a node failed');
    });
    return viewNode(await begun.promise);
  });
}

function viewNode({ since, eventLoopBusy, ...rest }: NodeView): Answer<typeof endpoints.drainNode> {
  return { ...rest, since: isoTime(since), ...(eventLoopBusy !== undefined && { eventLoopBusy }) };
}
