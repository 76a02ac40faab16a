/** Operators and their API keys: added, listed, disabled, reset; created, listed, revoked. */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { OperatorKeyRecord, OperatorRecord } from '../../registry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import type { Answer } from '../api/endpoint.ts';
import { operatorEndpoints as endpoints } from '../api/operators.ts';
import { formatApiKey } from '../api-key.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import type { RoutesOptions } from './routes.ts';

type OperatorView = Answer<typeof endpoints.addOperator>;
type KeyView = Answer<typeof endpoints.revokeOperatorKey>;

export function addOperatorRoutes(app: FastifyInstance, { registry }: RoutesOptions): void {
  addEndpoint(app, endpoints.showSelf, ({ admission: { actor, role, apiKey, session, certificate } }) => {
    if (role === undefined) throw new Problem('operator_required');
    return {
      actor,
      role,
      apiKey: apiKey?.id,
      session: session && {
        id: session.id,
        method: session.method,
        authenticatedAt: isoTime(session.authenticatedAt),
        isRecent: session.isRecent,
      },
      csrfToken: session?.csrfToken,
      expiresAt: isoTimeIfAny((apiKey ?? session ?? certificate)?.expiresAt),
    };
  });
  addEndpoint(app, endpoints.addOperator, async ({ body, actor }) =>
    viewOperator(await registry.addOperator(body, actor)),
  );
  addEndpoint(app, endpoints.listOperators, async ({ query: { after = '', limit }, reply }) => {
    const later = (await registry.listOperators()).filter(({ name }) => name > after);
    return pageOf(reply, later, { limit, view: viewOperator, cursor: ({ name }) => ({ after: name }) });
  });
  addEndpoint(app, endpoints.disableOperator, async ({ params, actor }) =>
    viewOperator(await registry.disableOperator(params.name, actor)),
  );
  addEndpoint(app, endpoints.resetOperator, async ({ params, body: { role }, actor }) =>
    viewOperator(await registry.resetOperator(params.name, role === undefined ? {} : { role }, actor)),
  );
  addEndpoint(app, endpoints.createOperatorKey, async ({ body, actor }) => {
    const { record, secret } = await registry.createOperatorKey(body, actor);
    return { key: viewKey(record), text: formatApiKey({ id: record.id, secret }) };
  });
  addEndpoint(app, endpoints.listOperatorKeys, async ({ query: { operator, after, limit }, reply }) => {
    const keys = await registry.listOperatorKeys(operator);
    const place = after === undefined ? -1 : keys.findIndex(({ id }) => id === after);
    if (after !== undefined && place < 0) throw new Problem('operator_key_unknown');
    return pageOf(reply, keys.slice(place + 1), { limit, view: viewKey, cursor: ({ id }) => ({ after: id }) });
  });
  addEndpoint(app, endpoints.revokeOperatorKey, async ({ params, actor }) =>
    viewKey(await registry.revokeOperatorKey(params.id, actor)),
  );
}

function viewOperator(record: OperatorRecord): OperatorView {
  return { ...record, createdAt: isoTime(record.createdAt), disabledAt: isoTimeIfAny(record.disabledAt) };
}

function viewKey(record: OperatorKeyRecord): KeyView {
  return {
    ...record,
    createdAt: isoTime(record.createdAt),
    expiresAt: isoTime(record.expiresAt),
    lastUsedAt: isoTimeIfAny(record.lastUsedAt),
    revokedAt: isoTimeIfAny(record.revokedAt),
  };
}
