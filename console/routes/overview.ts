/** The state of the server in few numbers, and their history. `server/overview/` measures them. */

import type { FastifyInstance } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import { overviewEndpoints as endpoints } from '../api/overview.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

export function addOverviewRoutes(app: FastifyInstance, { controls, version, now }: RoutesOptions): void {
  addEndpoint(app, endpoints.showOverview, async () => {
    const { startedAt, devices, devicesMost, sinks, expiring, ...rest } = await controls.overview();
    return {
      ...rest,
      time: isoTime(now()),
      version,
      startedAt: isoTime(startedAt),
      devices: { ...devices, most: devicesMost },
      sinks: [...sinks],
      expiring: expiring.map(({ nextAt, ...counts }) => ({ ...counts, nextAt: isoTimeIfAny(nextAt) })),
    };
  });
  addEndpoint(app, endpoints.showHistory, ({ query }) => controls.history(query.minutes));
}
