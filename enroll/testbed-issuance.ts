/** The whole of what is issued to one device, without a door: so that it can be repeated with the same keys. */

import { X509Certificate } from 'node:crypto';
import { pino } from 'pino';
import { parseBootstrapToken } from '../contract/bootstrap-token.ts';
import type { DeviceId } from '../contract/identity.ts';
import { type EnrollmentAnswer, enrollDevice } from './enrollment.ts';
import { recoverCertificate } from './recovery.ts';
import { type RenewalAnswer, renewCertificate } from './renewal.ts';
import type { KeptAuthority } from './testbed-authority.ts';

export interface IssuanceOrder {
  /** Text of a bootstrap token with one use. */
  readonly token: string;
  readonly deviceId: string;
  /** Requests in DER, base64, each for a key of its own. */
  readonly enroll: string;
  readonly renew: string;
}

/**
 * Yields `what serial` after each answer. Throws what refuses any of it. A device asks for nothing that it has: `received` are
 * the answers of an earlier time.
 */
export async function* carryOut(
  { authority, registry, clock }: KeptAuthority,
  order: IssuanceOrder,
  received: readonly string[] = [],
): AsyncGenerator<string, void> {
  const deps = { authority, registry, log: pino({ level: 'silent' }) };
  const address = '192.0.2.7';
  const identity = { kind: 'device', id: order.deviceId as DeviceId } as const;
  const token = parseBootstrapToken(order.token);
  if (token === undefined) throw new Error('expected a token');
  const today = clock.now;

  const enrolled =
    (await kept('enrolled')) ??
    certificateIn(
      await enrollDevice(
        { credential: { token, deviceId: identity.id }, csrDer: Buffer.from(order.enroll, 'base64'), address },
        { ...deps, randomBytes: Buffer.alloc },
      ),
    );
  yield `enrolled ${enrolled.serial}`;

  const csrDer = Buffer.from(order.renew, 'base64');
  const renewed =
    (await kept('renewed')) ??
    certificateIn(await renewCertificate({ holder: holderOf(enrolled), csrDer, address }, deps));
  yield `renewed ${renewed.serial}`;
  await registry.proveCertificate(renewed.serial);
  yield `proven ${renewed.serial}`;

  clock.now = renewed.notAfter + 24 * 3_600_000;
  const holder = { ...holderOf(renewed), ended: renewed.der };
  const recovered = certificateIn(await recoverCertificate({ holder, csrDer, address }, deps));
  yield `recovered ${recovered.serial}`;
  clock.now = today;

  async function kept(what: string) {
    const serial = received.find((answer) => answer.startsWith(what))?.split(' ')[1];
    return (await registry.listCertificates(identity)).find((certificate) => certificate.serial === serial);
  }

  function holderOf({ der, serial }: { readonly der: Uint8Array; readonly serial: string }) {
    const { validFromDate, validToDate } = new X509Certificate(der);
    return { identity, serial, notBefore: validFromDate.getTime(), notAfter: validToDate.getTime() };
  }
}

function certificateIn(answer: RenewalAnswer | EnrollmentAnswer) {
  if (!answer.ok) throw answer.problem;
  return answer.certificate;
}
