/** Bootstrap tokens: created, listed without their secrets, revoked; and the devices that were issued from one. */

import { type DeviceId, Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { Registry, TokenRecord } from '../../registry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import type { Answer } from '../api/endpoint.ts';
import { tokenEndpoints as endpoints } from '../api/tokens.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import { applyAndReport, confirmSelection, operationOf } from './confirm-device-operations.ts';
import { MAX_CERTIFICATES, viewCertificate } from './devices.ts';
import type { RoutesOptions } from './routes.ts';

type TokenView = Answer<typeof endpoints.listTokens>[number];

export function addTokenRoutes(app: FastifyInstance, { registry, controls, now }: RoutesOptions): void {
  addEndpoint(app, endpoints.createToken, async ({ body, actor }) => {
    const { uses, ttlSeconds, group, labels, device, loadTest } = body;
    const order = {
      ...{ maxUses: uses, ttlSeconds, group, labels },
      ...(device !== undefined && { device }),
      ...(loadTest !== undefined && { loadTest }),
    };
    const minted = await registry.createToken(order, actor);
    return { token: viewToken(minted.record), text: controls.formatToken(minted) };
  });
  addEndpoint(app, endpoints.listTokens, async ({ query: { after, limit }, reply }) => {
    const tokens = await registry.listTokens();
    const place = after === undefined ? -1 : tokens.findIndex(({ id }) => id === after);
    if (after !== undefined && place < 0) throw new Problem('token_unknown');
    return pageOf(reply, tokens.slice(place + 1), { limit, view: viewToken, cursor: ({ id }) => ({ after: id }) });
  });
  addEndpoint(app, endpoints.revokeToken, async ({ params, actor }) => {
    const record = await registry.revokeToken(params.id, actor);
    if (record === undefined) throw new Problem('token_unknown');
    return viewToken(record);
  });
  addEndpoint(app, endpoints.showIssuedFrom, async ({ params, query: { after = '', limit }, reply }) => {
    const record = await tokenOf(registry, params.id);
    const at = now();
    const lines = Map.groupBy(await registry.listIssuedFrom(params.id), ({ holder }) =>
      holder.kind === 'device' ? holder.id : holder.name,
    );
    const names = [...lines.keys()].filter((name) => name > after).sort();
    const found = names.slice(0, limit).map(async (name) => ({
      device: name,
      status: (await registry.findDevice(name as DeviceId))?.status ?? ('deleted' as const),
    }));
    const devices = pageOf(reply, await Promise.all(found), {
      limit,
      view: (about) => {
        const certificates = (lines.get(about.device) ?? []).slice(-MAX_CERTIFICATES);
        return { ...about, certificates: certificates.map((certificate) => viewCertificate(certificate, at)) };
      },
      cursor: ({ device }) => ({ after: device }),
    });
    return { token: viewToken(record), devices };
  });
  addEndpoint(app, endpoints.applyToIssuedFrom, async ({ params, body, actor, admission }) => {
    const { act, reason = 'keyCompromise', confirm } = body;
    const operation = operationOf(act, reason);
    const selector = { token: (await tokenOf(registry, params.id)).id };
    const order = { operation, confirm, admission };
    await confirmSelection(registry, selector, order);
    await registry.revokeToken(params.id, actor);
    // Selects again: a device may have enrolled before the token was revoked. It is included, or makes the confirmation stale.
    const { ids } = await confirmSelection(registry, selector, order);
    return applyAndReport(registry, ids, operation, actor);
  });
}

async function tokenOf(registry: Registry, id: string): Promise<TokenRecord> {
  const record = (await registry.listTokens()).find((token) => token.id === id);
  if (record === undefined) throw new Problem('token_unknown');
  return record;
}

function viewToken(record: TokenRecord): TokenView {
  const { createdAt, createdBy, revokedAt, expiresAt, loadTest, ...rest } = record;
  return {
    ...rest,
    labels: { ...record.labels },
    mintedAt: isoTime(createdAt),
    mintedBy: createdBy,
    expiresAt: isoTime(expiresAt),
    voidedAt: isoTimeIfAny(revokedAt),
    ...(loadTest !== undefined && { loadTest: { ...loadTest, from: [...loadTest.from] } }),
  };
}
