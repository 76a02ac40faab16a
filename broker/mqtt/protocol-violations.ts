/** Every violation of MQTT 3.1.1 or of a limit. The values are created once, so that a refusal allocates nothing. */

export interface ProtocolViolation {
  /** The normative statement of MQTT 3.1.1 that demands the close, or `limit` for a limit of the broker. */
  readonly clause: string;
  readonly description: string;
  /** CONNACK return code to send before closing, where the standard allows or demands one. */
  readonly connack?: 1 | 2;
}

function violation(clause: string, description: string, connack?: 1 | 2): ProtocolViolation {
  return Object.freeze(connack === undefined ? { clause, description } : { clause, description, connack });
}

export const VIOLATIONS = {
  // Fixed header
  firstNotConnect: violation('MQTT-3.1.0-1', 'expected CONNECT as the first packet'),
  secondConnect: violation('MQTT-3.1.0-2', 'expected one CONNECT, found a second'),
  packetType: violation('MQTT-4.8.0-1', 'expected a packet type that a client may send'),
  flags: violation('MQTT-2.2.2-2', 'expected the reserved flags of the packet type'),
  publishQos: violation('MQTT-3.3.1-4', 'expected QoS 0, 1 or 2'),
  publishDup: violation('MQTT-3.3.1-2', 'expected DUP 0 with QoS 0'),
  lengthMalformed: violation('MQTT-2.2.3', 'expected a remaining length of at most four bytes, shortest form'),
  lengthWrong: violation('MQTT-4.8.0-1', 'expected the length of the packet type'),
  packetTooLarge: violation('limit', 'the packet is larger than allowed'),
  connectTooLarge: violation('limit', 'the CONNECT packet is larger than allowed'),
  // Body
  truncated: violation('MQTT-4.8.0-1', 'a field ends beyond its packet'),
  trailing: violation('MQTT-4.8.0-1', 'bytes are left after the last field'),
  packetId: violation('MQTT-2.3.1-1', 'expected a packet identifier other than 0'),
  utf8: violation('MQTT-1.5.3-1', 'expected well-formed UTF-8'),
  nul: violation('MQTT-1.5.3-2', 'expected text without U+0000'),
  topicEmpty: violation('MQTT-4.7.3-1', 'expected a topic of at least one character'),
  topicTooLong: violation('limit', 'the topic has more bytes than allowed'),
  topicTooDeep: violation('limit', 'the topic has more levels than allowed'),
  topicWildcard: violation('MQTT-3.3.2-2', 'expected a topic name without wildcards'),
  filterWildcard: violation('MQTT-4.7.1-2', 'expected wildcards alone in a level, # in the last one'),
  subscribeEmpty: violation('MQTT-3.8.3-3', 'expected at least one topic filter'),
  subscribeQos: violation('MQTT-3.8.3-4', 'expected a requested QoS of 0, 1 or 2'),
  unsubscribeEmpty: violation('MQTT-3.10.3-2', 'expected at least one topic filter'),
  tooManyFilters: violation('limit', 'the packet has more filters than allowed'),
  // CONNECT
  protocolName: violation('MQTT-3.1.2-1', 'expected the protocol name MQTT'),
  protocolLevel: violation('MQTT-3.1.2-2', 'expected protocol level 4', 1),
  connectReserved: violation('MQTT-3.1.2-3', 'expected the reserved connect flag to be 0'),
  willFlags: violation('MQTT-3.1.2-13', 'expected will QoS 0 and will retain 0 without a will'),
  willQos: violation('MQTT-3.1.2-14', 'expected a will QoS of 0, 1 or 2'),
  passwordAlone: violation('MQTT-3.1.2-22', 'expected no password without a user name'),
  clientIdEmpty: violation('MQTT-3.1.3-8', 'expected a client id', 2),
} as const satisfies Record<string, ProtocolViolation>;
