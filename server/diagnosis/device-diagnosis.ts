/** Why a device cannot enroll, connect or renew: what the registry, the sessions and the events say about it, in one answer. */

import type { Identity } from '@rollcall/protocol';
import type { DeviceDiagnosis, DiagnosisOrder, SessionPage, SessionQuery } from '../../console/index.ts';
import type { Registry } from '../../registry/index.ts';
import type { EventLog } from '../events/event-log.ts';
import { refusalsOf } from './refusals.ts';

export interface DiagnosisDeps {
  readonly registry: Pick<Registry, 'findDevice' | 'listCertificates' | 'listTokens'>;
  readonly events: Pick<EventLog, 'newest'>;
  readonly sessions: (query: SessionQuery) => Promise<SessionPage>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const CERTIFICATES_MAX = 1_000;

/** Never throws for a device that does not exist: it may have been refused before it enrolled. */
export async function diagnoseDevice(
  { device, token, since }: DiagnosisOrder,
  { registry, events, sessions, now }: DiagnosisDeps,
): Promise<DeviceDiagnosis> {
  const record = await registry.findDevice(device);
  const identity: Identity = { kind: 'device', id: device };
  const certificates = await registry.listCertificates(identity, CERTIFICATES_MAX);
  const tokens = (await registry.listTokens()).filter((one) => one.device === device || one.id === token);
  const [session] = (await sessions({ after: '', limit: 1, identity })).sessions;
  const newest = certificates.at(-1);
  const address = session?.address ?? record?.presence?.address ?? newest?.address;
  const refusals = await refusalsOf(
    {
      device,
      since,
      serials: new Set(certificates.map(({ serial }) => serial)),
      tokens: new Set([...tokens.map(({ id }) => id), ...(token === undefined ? [] : [token])]),
      address,
    },
    events,
  );
  return {
    device,
    serverTime: now(),
    since,
    record,
    certificate: newest,
    session,
    tokens,
    refusals,
  };
}
