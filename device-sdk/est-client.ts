/**
 * The three EST requests of a device (RFC 7030, RFC 8951): fetch the CA certificates, enroll, enroll again.
 * Responses become certificates or a DeviceError with the server's code. The module verifies no certificate and
 * stores nothing.
 */

import type { X509Certificate } from 'node:crypto';
import {
  EST_MEDIA_TYPES,
  EST_PATHS,
  isProblemCode,
  MQTT_URL_HEADER,
  PROBLEM_MEDIA_TYPE,
  parseDecimal,
  ROOT_CRLS_PATH,
} from '@rollcall/protocol';
import { readCertsOnly } from './certs-only.ts';
import { DeviceError, type DeviceErrorCode } from './device-error.ts';
import { exchange, type HttpsPeer, type HttpsResponse } from './https-exchange.ts';

/** Bytes of one answer, at most. Sixteen certificates of 2 KiB in base64 stay under it. */
const ANSWER_MAX = 64 * 1024;
const TIMEOUT_MS = 30_000;
const RETRY_AFTER_MAX_S = 86_400;

export interface IssuedCertificates {
  readonly certificates: readonly X509Certificate[];
  /** As the server announced it, not checked yet. */
  readonly mqttUrl: string | undefined;
}

/** The server's CA certificates. From an unverified peer they are worth nothing until one matches a pin. */
export async function fetchCaCertificates(peer: HttpsPeer): Promise<readonly X509Certificate[]> {
  const answer = await exchange(peer, {
    method: 'GET',
    path: EST_PATHS.cacerts,
    headers: { accept: 'application/pkcs7-mime' },
    maxBytes: ANSWER_MAX,
    timeout: TIMEOUT_MS,
  });
  readTime(peer, answer);
  return certificatesOf(answer);
}

/** Revocation lists of the fleet's roots, PEM; empty from a server that has none to give. Each proves itself by its signature. */
export async function fetchRootRevocationLists(peer: HttpsPeer): Promise<string> {
  const answer = await exchange(peer, {
    method: 'GET',
    path: ROOT_CRLS_PATH,
    maxBytes: ANSWER_MAX,
    timeout: TIMEOUT_MS,
  });
  return answer.status === 200 ? answer.body.toString('latin1') : '';
}

/**
 * Asks for the first certificate. The token is the password of HTTP Basic; `user` is the device id asked for, empty to
 * let the server choose (RFC 7617 has room for neither a colon in the user nor control characters; ids have none).
 */
export function simpleEnroll(
  peer: HttpsPeer,
  csr: Buffer,
  login: { readonly user: string; readonly token: string },
): Promise<IssuedCertificates> {
  const basic = Buffer.from(`${login.user}:${login.token}`, 'utf8').toString('base64');
  return post(peer, EST_PATHS.simpleenroll, csr, { authorization: `Basic ${basic}` });
}

/** Asks for the next certificate; `peer.credential` is the current one. */
export function simpleReenroll(peer: HttpsPeer, csr: Buffer): Promise<IssuedCertificates> {
  return post(peer, EST_PATHS.simplereenroll, csr, {});
}

async function post(
  peer: HttpsPeer,
  path: string,
  csr: Buffer,
  headers: Readonly<Record<string, string>>,
): Promise<IssuedCertificates> {
  const answer = await exchange(peer, {
    method: 'POST',
    path,
    headers: { ...headers, 'content-type': EST_MEDIA_TYPES.request, accept: 'application/pkcs7-mime' },
    body: csr.toString('base64'),
    maxBytes: ANSWER_MAX,
    timeout: TIMEOUT_MS,
  });
  readTime(peer, answer);
  const mqttUrl = answer.headers[MQTT_URL_HEADER];
  return { certificates: certificatesOf(answer), mqttUrl: typeof mqttUrl === 'string' ? mqttUrl : undefined };
}

function certificatesOf(answer: HttpsResponse): readonly X509Certificate[] {
  if (answer.status !== 200) throw refusal(answer);
  const text = answer.body.toString('latin1').replace(/\s+/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
    throw new DeviceError('answer_invalid', { reason: 'expected base64', status: answer.status });
  }
  const certificates = readCertsOnly(Buffer.from(text, 'base64'));
  if (certificates === undefined || certificates.length === 0) {
    throw new DeviceError('answer_invalid', { reason: 'expected certs-only PKCS#7', status: answer.status });
  }
  return certificates;
}

/** The server's problem code where it sent one; its free text is left out, since it could quote what was sent to it. */
function refusal(answer: HttpsResponse): DeviceError {
  const retryAfter = retryAfterSeconds(answer.headers['retry-after']);
  return new DeviceError(problemCode(answer) ?? codeOfStatus(answer.status), {
    reason: `HTTP status ${answer.status}`,
    status: answer.status,
    ...(retryAfter === undefined ? {} : { retryAfter }),
  });
}

function problemCode(answer: HttpsResponse): DeviceErrorCode | undefined {
  const code = problemOf(answer)?.code;
  return typeof code === 'string' && isProblemCode(code) ? code : undefined;
}

function problemOf(answer: HttpsResponse): { readonly code?: unknown; readonly time?: unknown } | undefined {
  if (!String(answer.headers['content-type'] ?? '').startsWith(PROBLEM_MEDIA_TYPE)) return undefined;
  try {
    const document: unknown = JSON.parse(answer.body.toString('utf8'));
    return typeof document === 'object' && document !== null ? document : undefined;
  } catch {
    return undefined;
  }
}

/** The problem document's own time, else the Date of the answer (RFC 9110, section 6.6.1), which has whole seconds only. */
function readTime(peer: HttpsPeer, answer: HttpsResponse): void {
  if (peer.root === 'unverified') return; // an unverified server
  const time = Date.parse(String(problemOf(answer)?.time ?? answer.headers.date));
  if (Number.isFinite(time) && time > 0) peer.clock?.learn(time);
}

function codeOfStatus(status: number): DeviceErrorCode {
  if (status === 429) return 'rate_limited';
  // 202 is EST's "ask again later" (RFC 7030, section 4.2.3).
  if (status === 202 || (status >= 502 && status <= 504)) return 'unavailable';
  if (status >= 500) return 'internal';
  return status >= 400 ? 'server_refused' : 'answer_invalid';
}

/** Seconds only; the form with a date would need a clock that a device may not have. */
function retryAfterSeconds(header: string | undefined): number | undefined {
  const seconds = parseDecimal(header, 0);
  return seconds === undefined ? undefined : Math.min(seconds, RETRY_AFTER_MAX_S);
}
