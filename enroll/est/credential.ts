/** The bootstrap token and device id of an Authorization header (HTTP Basic, RFC 7617, or Bearer, RFC 6750). */

import {
  type BootstrapToken,
  type DeviceId,
  GENERIC_USER_NAMES,
  Problem,
  parseBootstrapToken,
  parseDeviceId,
} from '@rollcall/protocol';
export interface EnrollmentCredential {
  readonly token: BootstrapToken;
  /** Undefined: the token names the device, or the server chooses. */
  readonly deviceId: DeviceId | undefined;
}

const BASIC = /^Basic +([A-Za-z0-9+/]+={0,2})$/i;
const BEARER = /^Bearer +(\S+)$/i;

/** The credential of an Authorization header, or the refusal. */
export function parseCredential(authorization: string | undefined): EnrollmentCredential | Problem {
  if (authorization === undefined) return new Problem('credentials_missing');
  const bearer = BEARER.exec(authorization)?.[1];
  if (bearer !== undefined) return credential('', bearer);
  const basic = decodeBasic(BASIC.exec(authorization)?.[1]);
  if (basic === undefined) return new Problem('credentials_missing', { reason: 'expected the Basic or Bearer scheme' });
  return credential(basic.userName, basic.password);
}

function credential(userName: string, tokenText: string): EnrollmentCredential | Problem {
  const deviceId = GENERIC_USER_NAMES.has(userName) ? undefined : parseDeviceId(userName);
  if (deviceId === undefined && !GENERIC_USER_NAMES.has(userName)) return new Problem('device_id_invalid');
  const token = parseBootstrapToken(tokenText);
  if (token === undefined) return new Problem('token_rejected', { reason: 'expected the text of a bootstrap token' });
  return { token, deviceId };
}

function decodeBasic(base64: string | undefined): { userName: string; password: string } | undefined {
  if (base64 === undefined) return undefined;
  const text = Buffer.from(base64, 'base64').toString('utf8');
  const colon = text.indexOf(':'); // a user name has none (RFC 7617, section 2)
  return colon < 0 ? undefined : { userName: text.slice(0, colon), password: text.slice(colon + 1) };
}
