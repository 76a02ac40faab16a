/** Profiles of groups over the registry: shown and set. */

import type { GroupName } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { GroupProfile } from '../../registry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { groupEndpoints as endpoints } from '../api/groups.ts';
import { isoTime } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import type { RoutesOptions } from './routes.ts';

export function addGroupRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  const show = async (group: GroupName) => viewProfile(group, await registry.findProfile(group));
  addEndpoint(app, endpoints.showGroupProfile, ({ params }) => show(params.group));
  addEndpoint(app, endpoints.setGroupProfile, async ({ params: { group }, body, actor, expectMatch }) => {
    await registry.setProfile(group, body, actor, (current) => expectMatch(viewProfile(group, current)));
    return show(group);
  });
  addEndpoint(app, endpoints.listProfileVersions, async ({ params, query: { before, limit }, reply }) => {
    const page = { limit, ...(before !== undefined && { before }) };
    return pageOf(reply, await registry.listProfileVersions(params.group, page), {
      limit,
      view: ({ version, at, actor, value }) => ({
        version,
        at: isoTime(at),
        actor,
        ...(value !== undefined && { profile: viewFields(value) }),
      }),
      cursor: ({ version }) => ({ before: version }),
    });
  });
}

/** Without the keys that are absent. */
function viewFields({ keys, ...rest }: GroupProfile) {
  return { ...rest, ...(keys !== undefined && { keys: [...keys] }) };
}

function viewProfile(group: GroupName, found: GroupProfile | undefined) {
  return { group, isSet: found !== undefined, profile: viewFields(found ?? {}) };
}
