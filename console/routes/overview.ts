/** The state of the server, or of all nodes of the fleet, in few numbers, and their history. `server/overview/` measures them. */

import type { FastifyInstance } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import type { Answer } from '../api/endpoint.ts';
import { overviewEndpoints as endpoints } from '../api/overview.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { FleetOverview, NodeFigures } from '../server-overview.ts';
import type { RoutesOptions } from './routes.ts';

type NodeAnswer = Answer<typeof endpoints.showFleet>['nodes'][number];

export function addOverviewRoutes(app: FastifyInstance, { controls, version, now }: RoutesOptions): void {
  const viewFleet = ({ node, nodes, unanswered }: FleetOverview): Answer<typeof endpoints.showFleet> => ({
    ...{ time: isoTime(now()), version, node, unanswered: [...unanswered] },
    nodes: nodes.map(({ since, roles, figures, ...one }) => {
      return { ...one, since: isoTime(since), roles: [...roles], figures: figures && viewFigures(figures) };
    }),
  });
  addEndpoint(app, endpoints.showOverview, async () => {
    const { startedAt, devices, devicesMost, sinks, expiring, node, nodes, unanswered, ...rest } =
      await controls.overview();
    return {
      ...rest,
      ...viewFleet({ node, nodes, unanswered }),
      startedAt: isoTime(startedAt),
      devices: { ...devices, most: devicesMost },
      sinks: [...sinks],
      expiring: expiring.map(({ nextAt, ...counts }) => ({ ...counts, nextAt: isoTimeIfAny(nextAt) })),
    };
  });
  addEndpoint(app, endpoints.showFleet, async () => viewFleet(await controls.fleet()));
  addEndpoint(app, endpoints.showHistory, async ({ query }) => {
    const { unanswered, ...history } = await controls.history(query.minutes);
    return { ...history, unanswered: [...unanswered] };
  });
}

function viewFigures({
  startedAt,
  refusals,
  sinks,
  busiest,
  ...rest
}: NodeFigures): NonNullable<NodeAnswer['figures']> {
  return {
    ...rest,
    startedAt: isoTime(startedAt),
    refusals: [...refusals],
    busiest: [...busiest],
    ...(sinks !== undefined && { sinks: [...sinks] }),
  };
}
