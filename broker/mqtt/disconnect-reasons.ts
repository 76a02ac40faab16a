/**
 * What a client is told when the server ends its session: the DISCONNECT packet of MQTT 5 (section 3.14) with a reason code, and a Reason
 * String that starts with a stable word, for programs, and goes on with a sentence, for operators. MQTT 3.1.1 has no such packet.
 */

import { ReasonCode } from '@rollcall/protocol';
import type { DisconnectReason } from '../events.ts';
import { encodeDisconnect } from './codec/packet-encoder.ts';
import type { ProtocolViolation } from './codec/protocol-violations.ts';

interface Explanation {
  readonly code: ReasonCode;
  readonly word: string;
  readonly sentence: string;
}

/** Undefined: the client ended the session, and nothing is sent. */
const EXPLANATIONS: Readonly<Record<DisconnectReason, Explanation | undefined>> = {
  client_disconnected: undefined,
  connection_lost: undefined,
  keepalive_timeout: explain(ReasonCode.keepAliveTimeout, 'keepalive_timeout', 'no packet came within the keep-alive'),
  protocol_violation: explain(ReasonCode.protocolError, 'protocol_violation', 'a packet is not valid'),
  limit_exceeded: explain(ReasonCode.quotaExceeded, 'quota', 'a limit of the server was exceeded'),
  acl_denied: explain(ReasonCode.notAuthorized, 'not_authorized', 'the policy does not allow the topic'),
  rate_exceeded: explain(ReasonCode.messageRateTooHigh, 'rate', 'messages came faster than allowed for too long'),
  slow_consumer: explain(ReasonCode.quotaExceeded, 'slow_consumer', 'messages were not read in time'),
  storage_failed: explain(
    ReasonCode.unspecifiedError,
    'storage_failed',
    'a message could not be stored; send it again later',
  ),
  session_taken_over: explain(ReasonCode.sessionTakenOver, 'taken_over', 'the same client id connected again'),
  certificate_expired: explain(
    ReasonCode.administrativeAction,
    'certificate_expired',
    'the client certificate has ended; renew it',
  ),
  revoked: explain(ReasonCode.administrativeAction, 'device_revoked', 'the certificate was revoked; enroll again'),
  suspended: explain(ReasonCode.administrativeAction, 'device_suspended', 'an operator suspended the device'),
  resumed: explain(ReasonCode.administrativeAction, 'quarantine_ended', 'connect again to use all rights'),
  quarantined: explain(
    ReasonCode.administrativeAction,
    'device_quarantined',
    'the device is in quarantine, and may not connect',
  ),
  policy_changed: explain(ReasonCode.notAuthorized, 'policy_changed', 'the new policy does not allow the connection'),
  operator: explain(ReasonCode.administrativeAction, 'operator', 'an operator ended the connection; connect again'),
  server_shutdown: explain(ReasonCode.serverShuttingDown, 'server_shutdown', 'the server stops; connect again'),
  node_drained: explain(
    ReasonCode.useAnotherServer,
    'node_drained',
    'this node of the server is drained; connect again to the same address',
  ),
  server_error: explain(ReasonCode.unspecifiedError, 'server_error', 'the server could not process a packet'),
};

const USE_ANOTHER_SERVER = explain(
  ReasonCode.useAnotherServer,
  'use_another_server',
  'this server stops; connect to the one that Server Reference names',
);

export interface DisconnectAbout {
  readonly violation?: ProtocolViolation;
  /** `host:port` of the server to connect to instead of this one, which stops (MQTT 5, 4.11). */
  readonly serverReference?: string | undefined;
}

/**
 * The packet to be sent to a client of MQTT 5; undefined when none is. `largest`: bytes of the largest packet that the client accepts. The
 * Reason String is left out if it would exceed that [MQTT-3.14.2-3].
 */
export function disconnectPacket(
  reason: DisconnectReason,
  largest: number,
  { violation, serverReference }: DisconnectAbout = {},
): Buffer | undefined {
  const explanation = serverReference === undefined ? EXPLANATIONS[reason] : USE_ANOTHER_SERVER;
  if (explanation === undefined) return undefined;
  const { word, sentence } = explanation;
  const code = violation?.reasonCode ?? explanation.code;
  const reference = serverReference === undefined ? {} : { serverReference };
  const text =
    violation === undefined ? sentence : `${violation.packet}: ${violation.description} (${violation.clause})`;
  const packet = encodeDisconnect(code, { reasonString: `${word}: ${text}`, ...reference });
  if (packet.length <= largest) return packet;
  const short = encodeDisconnect(code, reference);
  return short.length <= largest ? short : undefined;
}

function explain(code: ReasonCode, word: string, sentence: string): Explanation {
  return { code, word, sentence };
}
