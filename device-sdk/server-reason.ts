/**
 * Why a broker refused or ended a connection, or refused a message, as MQTT 5 says it: a reason code and perhaps a Reason String.
 * Servers of Rollcall begin that with a stable word: `device_revoked: this device was revoked`.
 */

import { ReasonCode, reasonName } from '@rollcall/protocol';
import type { PacketProperties } from './mqtt-codec/index.ts';

export interface ServerReason {
  readonly code: number;
  /** The stable word of a Rollcall server, or the standard's name of the code: `session_taken_over`. */
  readonly word: string;
  /** The Reason String, or the word. */
  readonly text: string;
}

/**
 * What an ended connection means for the next attempt. `refused`: the broker does not accept this device. `later`: it does, and an early
 * attempt would make things worse. `soon`: it has nothing to do with this device.
 */
export type NextAttempt = 'refused' | 'later' | 'soon';

const WORD = /^([a-z][a-z0-9_]{1,39})(?::|$)/;
const TEXT_MAX = 256;

export function serverReason(code: number, properties: PacketProperties | undefined): ServerReason {
  const said = properties?.reasonString ?? '';
  const word = WORD.exec(said)?.[1] ?? reasonName(code);
  return { code, word, text: said === '' ? word : said.slice(0, TEXT_MAX) };
}

const REFUSED: ReadonlySet<number> = new Set([
  ReasonCode.clientIdentifierNotValid,
  ReasonCode.badUserNameOrPassword,
  ReasonCode.notAuthorized,
  ReasonCode.banned,
  ReasonCode.badAuthenticationMethod,
  ReasonCode.administrativeAction,
]);
/** Another device of this name, or what this device itself sends too much or too large. */
const LATER: ReadonlySet<number> = new Set([
  ReasonCode.malformedPacket,
  ReasonCode.protocolError,
  ReasonCode.sessionTakenOver,
  ReasonCode.receiveMaximumExceeded,
  ReasonCode.topicAliasInvalid,
  ReasonCode.packetTooLarge,
  ReasonCode.messageRateTooHigh,
  ReasonCode.quotaExceeded,
  ReasonCode.connectionRateExceeded,
]);
/** Administrative actions after which the device may return at once, with other rights perhaps. */
const WELCOME_BACK: ReadonlySet<string> = new Set(['operator', 'quarantine_ended', 'policy_changed']);

/** After CONNACK with an error, or DISCONNECT. */
export function nextAttemptAfter({ code, word }: ServerReason): NextAttempt {
  if (WELCOME_BACK.has(withoutDevice(word))) return 'soon';
  if (REFUSED.has(code)) return 'refused';
  return LATER.has(code) ? 'later' : 'soon';
}

/** Reasons that another certificate does not change. */
const NOT_THE_CERTIFICATE: ReadonlySet<string> = new Set([
  'suspended',
  'client_id_not_allowed',
  'client_identifier_not_valid',
  'too_many_sessions',
  'takeover_limited',
  'policy_failed',
  'policy_changed',
]);

/** Whether a new certificate may help a device that was refused; true where the broker did not say why. */
export function mayRenewalHelp(word: string | undefined): boolean {
  return word === undefined || !NOT_THE_CERTIFICATE.has(withoutDevice(word));
}

/** A refused message is not sent again. Every other error of PUBACK may be over the next time. */
const FINAL: ReadonlySet<number> = new Set([
  ReasonCode.notAuthorized,
  ReasonCode.topicNameInvalid,
  ReasonCode.packetTooLarge,
  ReasonCode.quotaExceeded,
  ReasonCode.payloadFormatInvalid,
]);

/** Whether PUBACK with this code refuses the message for good. */
export function isFinalForMessage(code: number): boolean {
  return FINAL.has(code);
}

function withoutDevice(word: string): string {
  return word.replace(/^device_/, '');
}
