/**
 * What a client is told when its connection is refused: CONNACK with a reason code (MQTT 5, table 3-1), or a return code (MQTT 3.1.1, table
 * 3.1), and in MQTT 5 a Reason String that starts with a stable word, for programs, and goes on with what to do, for operators.
 */

import { ReasonCode } from '@rollcall/protocol';
import type { ConnectFailure } from '../events.ts';
import { encodeConnack } from '../mqtt/codec/packet-encoder.ts';
import type { ProtocolViolation } from '../mqtt/codec/protocol-violations.ts';
import type { ConnectPacket } from '../mqtt/packets.ts';

interface Explanation {
  readonly code: ReasonCode;
  readonly sentence: string;
  /** In place of the reason, where DISCONNECT has the same word. */
  readonly word?: string;
}

const { notAuthorized, serverUnavailable, clientIdentifierNotValid, quotaExceeded } = ReasonCode;

/** Undefined: no CONNACK is sent, because the client did not send a valid CONNECT. */
const EXPLANATIONS: Readonly<Record<ConnectFailure, Explanation | undefined>> = {
  rate_limited: undefined,
  too_many_handshakes: undefined,
  proxy_header_missing: undefined,
  proxy_header_invalid: undefined,
  handshake_failed: undefined,
  upgrade_refused: undefined,
  connect_timeout: undefined,
  protocol_violation: undefined,
  certificate_missing: { code: notAuthorized, sentence: 'present a client certificate of this fleet' },
  certificate_untrusted: { code: notAuthorized, sentence: 'the certificate is not of this fleet; enroll again' },
  certificate_expired: { code: notAuthorized, sentence: 'the certificate has ended; recover or enroll again' },
  certificate_not_yet_valid: { code: notAuthorized, sentence: 'the certificate begins later; compare the clocks' },
  issuer_foreign: { code: notAuthorized, sentence: 'the certificate is of another CA; enroll again' },
  purpose_wrong: { code: notAuthorized, sentence: 'the certificate is not one for clients' },
  serial_unknown: { code: notAuthorized, sentence: 'the server does not know the certificate; enroll again' },
  revoked: { code: notAuthorized, word: 'device_revoked', sentence: 'the certificate was revoked; enroll again' },
  superseded: { code: notAuthorized, sentence: 'a newer certificate has replaced this one; use that' },
  suspended: { code: notAuthorized, word: 'device_suspended', sentence: 'an operator suspended the device' },
  identity_mismatch: { code: notAuthorized, sentence: 'the certificate names another holder than the registry' },
  registry_failed: { code: serverUnavailable, sentence: 'the server could not decide; connect again later' },
  policy_failed: { code: serverUnavailable, sentence: 'the server could not read the policy; connect again later' },
  authentication_method: {
    code: ReasonCode.badAuthenticationMethod,
    sentence: 'the certificate is the only authentication; send no Authentication Method',
  },
  protocol_version: { code: ReasonCode.unsupportedProtocolVersion, sentence: 'use MQTT 3.1.1 or 5' },
  client_id_missing: { code: clientIdentifierNotValid, sentence: 'use the device id as client id' },
  client_id_not_allowed: { code: clientIdentifierNotValid, sentence: 'use the name in the certificate as client id' },
  will_not_allowed: { code: notAuthorized, sentence: 'the policy does not allow the will' },
  takeover_limited: {
    code: ReasonCode.connectionRateExceeded,
    sentence: 'the client id connected too often; wait a minute, and look for a second holder',
  },
  too_many_sessions: { code: quotaExceeded, sentence: 'the identity has as many connections as it may have' },
  server_shutdown: { code: serverUnavailable, sentence: 'the server stops; connect again' },
};

/** The client that gets an answer, as far as its CONNECT is known. */
export type RefusedClient = Pick<ConnectPacket, 'version' | 'maximumPacketSize'>;

/** A client of unknown version gets a CONNACK of MQTT 3.1.1. */
const UNKNOWN: RefusedClient = { version: 4, maximumPacketSize: Number.POSITIVE_INFINITY };

/** The CONNACK packet; undefined when none is to be sent. */
export function refusalConnack(reason: ConnectFailure, client: RefusedClient = UNKNOWN): Buffer | undefined {
  const explanation = EXPLANATIONS[reason];
  if (explanation === undefined) return undefined;
  const { code, sentence, word = reason } = explanation;
  return connack(client, code, `${word}: ${sentence}`);
}

/** The CONNACK packet for a CONNECT that breaks MQTT; undefined when none is to be sent. */
export function violationConnack(violation: ProtocolViolation, client: RefusedClient = UNKNOWN): Buffer | undefined {
  const { connack: code, clause, description } = violation;
  return code === undefined ? undefined : connack(client, code, `protocol_violation: ${description} (${clause})`);
}

/** The Reason String is left out if the packet would be larger than the client accepts [MQTT-3.2.2-19]. */
function connack(
  { version, maximumPacketSize }: RefusedClient,
  reasonCode: ReasonCode,
  reasonString: string,
): Buffer | undefined {
  const packet = encodeConnack(version, { sessionPresent: false, reasonCode, properties: { reasonString } });
  if (packet.length <= maximumPacketSize) return packet;
  const short = encodeConnack(version, { sessionPresent: false, reasonCode });
  return short.length <= maximumPacketSize ? short : undefined;
}
