/** Profiles of groups over the registry: shown and set. */

import type { GroupName } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { GroupProfile } from '../../registry/index.ts';
import { groupEndpoints as endpoints } from '../api/groups.ts';
import { addEndpoint } from '../application.ts';
import type { RoutesOptions } from './routes.ts';

export function addGroupRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  const show = async (group: GroupName) => viewProfile(group, await registry.findProfile(group));
  addEndpoint(app, endpoints.showGroupProfile, ({ params }) => show(params.group));
  addEndpoint(app, endpoints.setGroupProfile, async ({ params: { group }, body, actor, expectMatch }) => {
    await registry.setProfile(group, body, actor, (current) => expectMatch(viewProfile(group, current)));
    return show(group);
  });
}

function viewProfile(group: GroupName, found: GroupProfile | undefined) {
  const { keys, ...rest } = found ?? {};
  return { group, isSet: found !== undefined, profile: { ...rest, ...(keys !== undefined && { keys: [...keys] }) } };
}
