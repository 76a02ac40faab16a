/** What an operator needs to know about a refusal: which check failed, in a sentence, and what to do. docs/diagnose.md has the same lists. */

import { isProblemCode, PROBLEMS, type ProblemCode } from '@rollcall/protocol';
import type { ConnectFailure, DenialReason } from '../../broker/index.ts';

export interface Advice {
  /** The check that failed, as a sentence without its full stop. */
  readonly sentence: string;
  readonly remedy: string;
}

const NEW_TOKEN = 'create a token with "rollcall token create --device ID" and enroll the device again';
const CLOCKS = 'compare the clocks of server and device, and let NTP set both';
const NETWORK =
  'look at the address: one device that connects in a loop, or many devices behind one address (mqtt.limits)';

/** By reason of `presence.connect_failed`. */
export const CONNECTION: Readonly<Record<ConnectFailure, Advice>> = {
  rate_limited: { sentence: 'the address opened more connections than it may in a second', remedy: NETWORK },
  too_many_handshakes: { sentence: 'the address, or all together, had too many handshakes open', remedy: NETWORK },
  proxy_header_missing: {
    sentence: 'a connection of a trusted proxy did not begin with a PROXY header',
    remedy: 'turn the PROXY protocol on in the proxy, for its health checks too (docs/load-balancers.md)',
  },
  proxy_header_invalid: {
    sentence: 'the PROXY header of a trusted proxy could not be read',
    remedy: 'the detail says what was expected; docs/load-balancers.md has tested configurations',
  },
  handshake_failed: {
    sentence: 'the TLS handshake failed before a certificate was checked',
    remedy: 'on the device run "rollcall-device doctor"; mostly it does not trust this server, or is not a TLS client',
  },
  upgrade_refused: {
    sentence: 'an HTTP request did not open a WebSocket connection for MQTT',
    remedy: 'the detail says why: the path, the subprotocol mqtt or the origin of the page (docs/load-balancers.md)',
  },
  connect_timeout: {
    sentence: 'the client completed no CONNECT in time',
    remedy: 'look for a port scanner, a health check of a load balancer, or packets that are lost on the way',
  },
  protocol_violation: {
    sentence: 'the client sent what MQTT forbids',
    remedy: 'the detail names the clause; correct or update the client',
  },
  certificate_missing: {
    sentence: 'the client presented no certificate',
    remedy: 'configure certificate and key in the client; a proxy in front must pass TLS through',
  },
  certificate_untrusted: {
    sentence: 'no CA of this fleet is behind the certificate',
    remedy: `compare the issuer with "rollcall ca show"; ${NEW_TOKEN}`,
  },
  certificate_expired: {
    sentence: 'the certificate has expired',
    remedy:
      'the SDK recovers it for 30 days (docs/renewal.md); after that create a token with --device ID and enroll again',
  },
  certificate_not_yet_valid: { sentence: 'the certificate is valid from a later time', remedy: CLOCKS },
  issuer_foreign: {
    sentence: 'the certificate is of another CA below the root, or of an issuing CA that was retired',
    remedy: `see "rollcall ca show"; ${NEW_TOKEN}`,
  },
  purpose_wrong: {
    sentence: 'the certificate is that of a server or a CA, not of a client',
    remedy: 'configure the certificate that enrollment wrote (cert.pem)',
  },
  serial_unknown: {
    sentence: 'the registry has no certificate with this serial',
    remedy:
      'the registry was restored from an older backup, or the device was deleted: create a token and enroll again',
  },
  revoked: { sentence: 'the certificate, or its device, was revoked', remedy: `if it should be back: ${NEW_TOKEN}` },
  superseded: {
    sentence: 'a newer certificate has replaced this one',
    remedy: 'the client has to use the newest files; two clients with copies of one identity look like this too',
  },
  suspended: { sentence: 'an operator suspended the device', remedy: 'rollcall device resume ID' },
  identity_mismatch: {
    sentence: 'the name in the certificate is not that of its holder in the registry',
    remedy: `this never happens to a certificate that this fleet issued: treat it as an attack, and ${NEW_TOKEN}`,
  },
  registry_failed: { sentence: 'the registry could not be read', remedy: 'rollcall doctor; the cause is in the log' },
  policy_failed: { sentence: 'the policy could not be read', remedy: 'rollcall doctor; the cause is in the log' },
  authentication_method: {
    sentence: 'the client asked for an authentication method of MQTT 5',
    remedy: 'configure none: the certificate is the only authentication',
  },
  protocol_version: {
    sentence: 'the client speaks another version of MQTT',
    remedy: 'configure MQTT 3.1.1 or 5',
  },
  client_id_missing: { sentence: 'CONNECT had no client id', remedy: 'configure the device id as client id' },
  client_id_not_allowed: {
    sentence: 'the client id is not the one of the certificate',
    remedy: 'configure the device id as client id; "rollcall policy show" lists what a group may use',
  },
  will_not_allowed: {
    sentence: 'the policy does not allow the will',
    remedy: 'rollcall policy explain ID publish TOPIC, with the topic of the will',
  },
  takeover_limited: {
    sentence: 'the client id connected too often in a minute',
    remedy: 'look for a second client with this identity; docs/device-status.md describes clones',
  },
  too_many_sessions: {
    sentence: 'the identity has as many connections as it may have',
    remedy: 'end connections of the service, or raise mqtt.limits.sessionsPerIdentity',
  },
  server_shutdown: { sentence: 'the server was stopping', remedy: 'nothing: the device connects again by itself' },
};

/** Causes of `certificate_untrusted`, by the error code of OpenSSL. */
export const UNTRUSTED: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate is signed by itself, not by a CA of this fleet',
  SELF_SIGNED_CERT_IN_CHAIN: 'the chain of the certificate ends at a root that is not of this fleet',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the issuer of the certificate is not a CA of this fleet',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the issuer of the certificate is not a CA of this fleet',
  CERT_SIGNATURE_FAILURE:
    'the issuer has the name of a CA of this fleet and another key: it is of an earlier installation, or forged',
};

/** Causes of `token_rejected`, which the device is not told. */
export const TOKEN_REASONS: Readonly<Record<string, Advice>> = {
  unknown_token: {
    sentence: 'no token with this id exists',
    remedy: 'the token is of another server, or was deleted with a restore: create one here',
  },
  wrong_secret: {
    sentence: 'the secret of the token is wrong',
    remedy: 'copy the whole text of the token; if it was, somebody guesses: revoke the token',
  },
  expired: { sentence: 'the token has expired', remedy: 'create another token' },
  spent: {
    sentence: 'the token has no use left',
    remedy: '"rollcall token issued TOKEN" lists who used it; create another',
  },
  void: { sentence: 'the token was revoked', remedy: 'create another token' },
  'the token pins another root': {
    sentence: 'the token pins another root than that of this server',
    remedy: 'the token is of another server: create one here',
  },
};

/** By code of `enroll.refused` and `cert.renewal_refused`. */
export const REQUESTS: Partial<Readonly<Record<ProblemCode, Advice>>> = {
  token_rejected: { sentence: 'the bootstrap token was not accepted', remedy: 'create another token' },
  credentials_missing: {
    sentence: 'the request had no bootstrap token',
    remedy: 'send the token as HTTP Basic password or Bearer',
  },
  certificate_required: {
    sentence: 'the client presented no certificate to renew with',
    remedy: 'present the current certificate; a proxy in front must pass TLS through',
  },
  client_cert_header_refused: {
    sentence: 'a request had the header Client-Cert, and its peer is not a listed proxy',
    remedy:
      'for a proxy of your own that terminates TLS see docs/load-balancers.md; otherwise the client must not send it',
  },
  client_cert_header_invalid: {
    sentence: 'the Client-Cert of a listed proxy is not one certificate as RFC 9440 writes it',
    remedy:
      'let the proxy delete the header of its client and set its own; docs/load-balancers.md has tested configurations',
  },
  certificate_rejected: {
    sentence: 'the client certificate was not accepted',
    remedy: `compare the issuer with "rollcall ca show"; ${NEW_TOKEN}`,
  },
  certificate_expired: {
    sentence: 'the certificate has expired, and the request was for a new key',
    remedy: 'ask for a certificate for the same key (docs/renewal.md, Recovery); the SDK does',
  },
  certificate_superseded: CONNECTION.superseded,
  recovery_refused: {
    sentence: 'the certificate expired too long ago, or its key was recovered too often',
    remedy: NEW_TOKEN,
  },
  device_revoked: CONNECTION.revoked,
  device_suspended: CONNECTION.suspended,
  device_quarantined: {
    sentence: 'the device is in quarantine',
    remedy: 'rollcall device resume ID, when it is trusted',
  },
  device_id_not_allowed: {
    sentence: 'the token was created for another device',
    remedy: 'rollcall token create --device ID, with the id that the device asks for',
  },
  device_exists: {
    sentence: 'a device or service of this name exists',
    remedy: 'rollcall token create --device ID: only such a token replaces a device',
  },
  group_full: {
    sentence: 'the group has as many devices as its profile allows',
    remedy: 'rollcall group profile set GROUP --max-devices N, or revoke devices that are out of service',
  },
  csr_key_reused: { sentence: 'the key was used before', remedy: 'the client has to make a new key' },
  csr_key_not_allowed: {
    sentence: 'the profile of the group does not allow this key type',
    remedy: 'rollcall group profile show GROUP',
  },
  csr_identity_mismatch: {
    sentence: 'the request names another device than its credential',
    remedy: 'leave the subject of the request empty, or use the same id',
  },
  rate_limited: {
    sentence: 'the address, or all together, asked for more certificates than they may',
    remedy: 'wait: the response says how long; enroll.limits has the rates',
  },
};

/** By the reason (`why`) of `security.acl_denied`. */
export const TOPICS: Readonly<Record<DenialReason | 'withdrawn', Advice>> = {
  no_rule: {
    sentence: 'no rule of the policy allows the topic',
    remedy: 'rollcall policy explain ID publish TOPIC; correct the topic in the device, or allow it in its policy',
  },
  topic_malformed: {
    sentence: 'the topic or filter is not one that MQTT or the server accepts',
    remedy: 'correct it in the device: docs/telemetry.md describes the topics of telemetry',
  },
  topic_reserved: {
    sentence: 'only the server may use the topic',
    remedy: 'use another topic: those that begin with $ and devices/ID/server are reserved',
  },
  client_id_not_own: {
    sentence: 'the client id is not the one of the certificate',
    remedy: 'configure the device id as client id',
  },
  withdrawn: {
    sentence: 'a change of the policy, the group or a label ended a subscription',
    remedy: 'nothing, if that was intended; else rollcall policy explain ID subscribe TOPIC',
  },
};

const OTHER_REMEDY = 'docs/errors.md describes the code';
const UNKNOWN: Advice = { sentence: 'the request was refused', remedy: OTHER_REMEDY };

/** `reason`: of an event `presence.connect_failed`. */
export function connectionAdvice(reason: string, detail: string | undefined): Advice {
  if (!Object.hasOwn(CONNECTION, reason)) return UNKNOWN;
  const advice = CONNECTION[reason as ConnectFailure];
  if (reason !== 'certificate_untrusted' || detail === undefined) return advice;
  const sentence = UNTRUSTED[detail];
  return sentence === undefined ? advice : { ...advice, sentence };
}

/** `code`: the refusal of an event `enroll.refused` or `cert.renewal_refused`. */
export function requestAdvice(code: string, detail: string | undefined): Advice {
  if (code === 'token_rejected' && detail !== undefined && Object.hasOwn(TOKEN_REASONS, detail)) {
    return TOKEN_REASONS[detail] as Advice;
  }
  if (!isProblemCode(code)) return UNKNOWN;
  return REQUESTS[code] ?? { sentence: PROBLEMS[code].sentence, remedy: OTHER_REMEDY };
}

/** `why`: of an event `security.acl_denied`. */
export function topicAdvice(why: string | undefined): Advice {
  return Object.hasOwn(TOPICS, why ?? '') ? TOPICS[why as keyof typeof TOPICS] : TOPICS.no_rule;
}
