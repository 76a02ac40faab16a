/** Profiles of groups over the registry: shown and set. */

import type { FastifyInstance } from 'fastify';
import { groupEndpoints as endpoints } from '../api/groups.ts';
import { addEndpoint } from '../application.ts';
import type { RoutesOptions } from './routes.ts';

export function addGroupRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  const show = async (group: Parameters<typeof registry.findProfile>[0]) => {
    const found = await registry.findProfile(group);
    const { keys, ...rest } = found ?? {};
    return { group, isSet: found !== undefined, profile: { ...rest, ...(keys !== undefined && { keys: [...keys] }) } };
  };
  addEndpoint(app, endpoints.showGroupProfile, ({ params }) => show(params.group));
  addEndpoint(app, endpoints.setGroupProfile, async ({ params, body, actor }) => {
    await registry.setProfile(params.group, body, actor);
    return show(params.group);
  });
}
