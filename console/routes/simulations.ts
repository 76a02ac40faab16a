/** Simulations: started, watched and read back. */

import type { FastifyInstance } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import type { Answer } from '../api/endpoint.ts';
import { simulationEndpoints as endpoints, simulationResult } from '../api/simulations.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { SimulationRun } from '../simulation-control.ts';
import type { RoutesOptions } from './routes.ts';

export function addSimulationRoutes(app: FastifyInstance, { controls: { simulations } }: RoutesOptions): void {
  addEndpoint(app, endpoints.listScenarios, async () => [...(await simulations.scenarios())]);
  addEndpoint(app, endpoints.listSimulations, async () => (await simulations.runs()).map(viewRun));
  addEndpoint(app, endpoints.showSimulation, async ({ params }) => {
    const { run, seconds, result } = await simulations.report(params.id);
    return { run: viewRun(run), seconds: [...seconds], result: simulationResult.safeParse(result).data };
  });
  addEndpoint(app, endpoints.startSimulation, async ({ body, actor }) =>
    viewRun(await simulations.start(body.scenario, actor)),
  );
  addEndpoint(app, endpoints.stopSimulation, async ({ params, actor }) =>
    viewRun(await simulations.stop(params.id, actor)),
  );
}

function viewRun(run: SimulationRun): Answer<typeof endpoints.startSimulation> {
  return { ...run, startedAt: isoTime(run.startedAt), endedAt: isoTimeIfAny(run.endedAt) };
}
