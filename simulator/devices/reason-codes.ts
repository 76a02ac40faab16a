/** Names of the reason codes that a broker sends, the same for both versions of MQTT: `puback_quota_exceeded`. */

import type { MqttVersion } from '@rollcall/device-sdk/mqtt-codec';
import { ReasonCode, reasonName } from '@rollcall/protocol';

export type PacketWithReason = 'connack' | 'puback' | 'suback' | 'disconnect';

/** Return codes in CONNACK of MQTT 3.1.1 (section 3.2.2.3), by number, as reason codes of MQTT 5. */
const RETURN_CODES: readonly number[] = [
  ReasonCode.success,
  ReasonCode.unsupportedProtocolVersion,
  ReasonCode.clientIdentifierNotValid,
  ReasonCode.serverUnavailable,
  ReasonCode.badUserNameOrPassword,
  ReasonCode.notAuthorized,
];

/** Codes from here on are errors. */
export const FIRST_ERROR = 0x80;

/** The reason code of MQTT 5 for the code in a CONNACK. */
export function connackReason(version: MqttVersion, code: number): number {
  return version === 5 ? code : (RETURN_CODES[code] ?? ReasonCode.unspecifiedError);
}

export function reasonKey(packet: PacketWithReason, code: number): string {
  if (packet === 'disconnect' && code === 0) return 'disconnect_normal_disconnection';
  return `${packet}_${reasonName(code)}`;
}
