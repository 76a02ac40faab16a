/** Commands to devices, and their twins: checked and put into the form of the API. `server/` sends and stores them. */

import { Problem, type TwinState } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import { deviceMessageEndpoints as endpoints } from '../api/device-messages.ts';
import type { Answer } from '../api/endpoint.ts';
import type { TwinView } from '../device-messages.ts';
import { isoTime } from '../iso-time.ts';
import { viewPayload } from '../untrusted-json.ts';
import type { RoutesOptions } from './routes.ts';

export function addDeviceMessageRoutes(app: FastifyInstance, { controls }: RoutesOptions): void {
  const { deviceMessages } = controls;
  addEndpoint(app, endpoints.commandDevice, async ({ params, body, actor }) => {
    const { name, waitSeconds, expiresSeconds } = body;
    const { response, ...result } = await deviceMessages.command({
      device: params.id,
      name,
      payload: payloadOf(body),
      waitMs: Math.round(waitSeconds * 1000),
      expiresMs: expiresSeconds === undefined ? undefined : Math.round(expiresSeconds * 1000),
      actor,
    });
    const shown = response && { at: isoTime(response.at), ...viewPayload(response.payload) };
    return { device: params.id, ...result, ...(shown && { response: shown }) };
  });
  addEndpoint(app, endpoints.showTwin, async ({ params }) => viewTwin(await deviceMessages.twin(params.id)));
  for (const [endpoint, mode] of [
    [endpoints.replaceDesired, 'replace'],
    [endpoints.mergeDesired, 'merge'],
  ] as const) {
    addEndpoint(app, endpoint, async ({ params, body, actor }) => {
      const { state, ifVersion } = body;
      return viewTwin(await deviceMessages.changeDesired({ device: params.id, state, mode, ifVersion, actor }));
    });
  }
}

function payloadOf({ payload, base64 }: { readonly payload?: unknown; readonly base64?: string | undefined }): Buffer {
  if (base64 === undefined) return Buffer.from(JSON.stringify(payload ?? null));
  if (payload !== undefined) throw new Problem('request_invalid', { detail: 'expected payload or base64, found both' });
  return Buffer.from(base64, 'base64');
}

function viewTwin({ desired, reported, pending }: TwinView): Answer<typeof endpoints.showTwin> {
  return {
    ...(desired && { desired: viewState(desired) }),
    ...(reported && { reported: { ...viewState(reported), desiredVersion: reported.desiredVersion } }),
    pending: { ...pending },
  };
}

function viewState({ version, state }: TwinState) {
  return { version, state: { ...state } };
}
