/** Bootstrap tokens over the registry: minted, listed without their secrets, made worthless. */

import type { FastifyInstance } from 'fastify';
import { Problem } from '../../contract/problem.ts';
import type { TokenRecord } from '../../registry/registry.ts';
import type { Answer } from '../api/endpoint.ts';
import { tokenEndpoints as endpoints } from '../api/tokens.ts';
import { serve } from '../application.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

type TokenView = Answer<typeof endpoints.listTokens>[number];

export function addTokenRoutes(app: FastifyInstance, { registry, fleet }: RoutesOptions): void {
  serve(app, endpoints.mintToken, async ({ body, actor }) => {
    const { uses, ttlSeconds, group, labels, device } = body;
    const order = { maxUses: uses, ttlSeconds, group, labels, ...(device !== undefined && { device }) };
    const minted = await registry.mintToken(order, actor);
    return { token: viewToken(minted.record), text: fleet.mintTokenText(minted) };
  });
  serve(app, endpoints.listTokens, async () => (await registry.listTokens()).map(viewToken));
  serve(app, endpoints.voidToken, async ({ params, actor }) => {
    const record = await registry.voidToken(params.id, actor);
    if (record === undefined) throw new Problem('token_unknown');
    return viewToken(record);
  });
}

function viewToken(record: TokenRecord): TokenView {
  return {
    ...record,
    labels: { ...record.labels },
    mintedAt: isoTime(record.mintedAt),
    expiresAt: isoTime(record.expiresAt),
    voidedAt: isoTimeIfAny(record.voidedAt),
  };
}
