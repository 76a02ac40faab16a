/** One-time passwords by time (TOTP, RFC 6238), as authenticator apps compute them: SHA-1, six digits, 30 seconds. */

import { Secret, TOTP } from 'otpauth';

const PERIOD_SECONDS = 30;
/** Time steps before and after the current one that are accepted: clocks differ, and typing takes time. */
const WINDOW = 1;
export const TOTP_SECRET_BYTES = 20;

/** The time step of the code, whole and since 1970; undefined when the code is not right. `now`: milliseconds since the epoch. */
export function totpStep(secret: Buffer, code: string, now: number): number | undefined {
  const delta = totp(secret).validate({ token: code, timestamp: now, window: WINDOW });
  return delta === null ? undefined : Math.floor(now / 1_000 / PERIOD_SECONDS) + delta;
}

export interface TotpEnrollment {
  /** Base32, for typing. */
  readonly secret: string;
  /** `otpauth://totp/…`, for a QR code. */
  readonly url: string;
}

/** What an authenticator app needs. `host` tells consoles apart in its list. */
export function totpEnrollment(secret: Buffer, operator: string, host: string): TotpEnrollment {
  const made = totp(secret, `${operator}@${host}`);
  return { secret: made.secret.base32, url: made.toString() };
}

function totp(secret: Buffer, label = ''): TOTP {
  return new TOTP({
    issuer: 'Rollcall',
    label,
    algorithm: 'SHA1',
    digits: 6,
    period: PERIOD_SECONDS,
    secret: new Secret({ buffer: new Uint8Array(secret).buffer }),
  });
}
