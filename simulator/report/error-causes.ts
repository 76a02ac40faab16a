/** Causes of errors in sentences, grouped by what a reader can do about them. */

import { isProblemCode, PROBLEMS } from '@rollcall/protocol';

/** By cause, and by cause without the prefix `enroll_` of requests for certificates. */
const SENTENCES: Readonly<Record<string, string>> = {
  rate_limited: 'the server refused a request for its rate, and the device waited as long as it asked',
  ECONNREFUSED: 'nothing accepts connections at this address',
  ECONNRESET:
    'the other side closed the connection without a reason: over a limit for this address, restarting, or gone',
  EPIPE: 'the other side had closed the connection',
  ETIMEDOUT: 'the other side did not answer',
  EHOSTUNREACH: 'there is no route to the address',
  ENETUNREACH: 'there is no route to the address',
  ENOTFOUND: 'the name does not resolve',
  EADDRNOTAVAIL: 'this host has no free port left: give more addresses with --source-address',
  EMFILE: 'this process may open no more files: raise "ulimit -n"',
  connect_timeout: 'no CONNACK came within 30 s',
  closed_before_connack: 'the broker closed the connection before CONNACK',
  closed_by_server: 'the broker closed the connection without a DISCONNECT',
  malformed_packet: 'the broker sent a packet that is none of this MQTT version',
  answer_invalid: 'the enroll server answered with something that is no certificate for the device',
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: 'the broker does not trust the CA of the devices',
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: 'the broker received no client certificate',
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: 'the broker refused the client certificate',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED: 'the broker finds the client certificate expired',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_REVOKED: 'the broker finds the client certificate revoked',
  ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN: 'the broker refused the client certificate',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate of the server is from a CA that the run does not trust',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate of the server is from a CA that the run does not trust',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the certificate of the server is from a CA that the run does not trust',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the certificate of the server is from a CA that the run does not trust',
  CERT_HAS_EXPIRED: 'the certificate of the server has expired',
};

const ENROLL = 'enroll_';

/** The sentence with the cause in brackets; a cause without a sentence alone. */
export function describeCause(cause: string): string {
  const isEnrolling = cause.startsWith(ENROLL);
  const name = isEnrolling ? cause.slice(ENROLL.length) : cause;
  const sentence = sentenceOf(name);
  const about = isEnrolling ? 'enrolling: ' : '';
  return sentence === undefined ? cause : `${about}${sentence} (${cause})`;
}

function sentenceOf(name: string): string | undefined {
  if (Object.hasOwn(SENTENCES, name)) return SENTENCES[name];
  if (isProblemCode(name)) return PROBLEMS[name].sentence;
  const packet = /^(connack|disconnect)_(\w+)$/.exec(name);
  if (packet === null) return undefined;
  const reason = (packet[2] as string).replaceAll('_', ' ');
  return packet[1] === 'connack'
    ? `the broker refused the connection: ${reason}`
    : `the broker disconnected: ${reason}`;
}

/** `42 x sentence (cause)`, the most frequent first; all after `most` are counted together. */
export function causeSentences(errors: Readonly<Record<string, number>>, most: number): readonly string[] {
  const sorted = Object.entries(errors).sort(([, a], [, b]) => b - a);
  const lines = sorted.slice(0, most).map(([cause, count]) => `${count} x ${describeCause(cause)}`);
  const rest = sorted.slice(most);
  if (rest.length === 0) return lines;
  return [...lines, `${rest.reduce((sum, [, count]) => sum + count, 0)} x ${rest.length} other causes`];
}

/** What to do where the server slowed the run down; undefined where it did not. */
export function throttlingNote(throttled: number): string | undefined {
  if (throttled === 0) return undefined;
  return `the server limited the rate of enrollments: ${throttled} requests had to wait; --load-test ADDRESS exempts a load test (docs/load-test.md)`;
}
