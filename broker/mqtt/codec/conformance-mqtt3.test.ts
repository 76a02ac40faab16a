/** Clauses of MQTT 3.1.1 about the form of a packet from a client, on the decoder alone: a packet that breaks each, and what the decoder states. */

import { describe } from 'vitest';
import { type ConformanceRow, itRefuses } from '../../../test/fixtures/broker/conformance-rows.ts';
import { connect, packet, text, u8, u16 } from '../../../test/fixtures/broker/packet-parts.ts';

const FIRST = connect('client-1');
const topic = text('a/b');
const x = Buffer.from('x');
const badText = text(u8(0x61, 0xc0, 0x80));
const nul = text('a\0b');

/** The first packet of a connection. */
const AS_FIRST: readonly ConformanceRow[] = [
  ['MQTT-3.1.0-1', 'PINGREQ', 'another first packet', 0x82, u8(0xc0, 0)],
  ['MQTT-3.1.2-1', 'CONNECT', 'another protocol name', 0x84, connect('c', { protocol: text('HTTP') })],
  ['MQTT-3.1.2-2', 'CONNECT', 'another protocol level', 0x84, connect('c', { level: 6 })],
  ['MQTT-3.1.2-2', 'CONNECT', 'MQTT 3.1', 0x84, connect('c', { protocol: text('MQIsdp'), level: 3 })],
  ['MQTT-3.1.2-3', 'CONNECT', 'the reserved connect flag', 0x81, connect('c', { flags: 3 })],
  ['MQTT-3.1.2-13', 'CONNECT', 'a will QoS without a will', 0x82, connect('c', { flags: 0x0a })],
  ['MQTT-3.1.2-14', 'CONNECT', 'will QoS 3', 0x81, connect('c', { flags: 0x1e, payload: [topic, topic] })],
  ['MQTT-3.1.2-15', 'CONNECT', 'will retain without a will', 0x82, connect('c', { flags: 0x22 })],
  [
    'MQTT-3.1.2-22',
    'CONNECT',
    'a password without a user name',
    0x82,
    connect('c', { flags: 0x42, payload: [text('p')] }),
  ],
  ['MQTT-3.1.3-8', 'CONNECT', 'no client id', 0x85, connect('')],
  [
    'MQTT-4.8.0-1',
    'CONNECT',
    'a field beyond its packet',
    0x81,
    packet(0x10, text('MQTT'), u8(4, 2), u16(60), u16(9), x),
  ],
];

/** A packet after CONNECT. */
const CONNECTED: readonly ConformanceRow[] = [
  ['MQTT-1.5.3-1', 'PUBLISH', 'ill-formed UTF-8', 0x81, packet(0x30, badText, x)],
  ['MQTT-1.5.3-2', 'PUBLISH', 'U+0000', 0x81, packet(0x30, nul, x)],
  ['MQTT-2.2.2-2', 'PUBREL', 'reserved flags', 0x81, packet(0x60, u16(1))],
  ['MQTT-2.2.3', 'PUBLISH', 'a remaining length of five bytes', 0x81, u8(0x30, 0x80, 0x80, 0x80, 0x80, 0x01)],
  ['MQTT-2.3.1-1', 'SUBSCRIBE', 'packet identifier 0', 0x82, packet(0x82, u16(0), topic, u8(0))],
  ['MQTT-3.1.0-2', 'CONNECT', 'a second CONNECT', 0x82, FIRST],
  ['MQTT-3.3.1-2', 'PUBLISH', 'DUP with QoS 0', 0x82, packet(0x38, topic, x)],
  ['MQTT-3.3.1-4', 'PUBLISH', 'QoS 3', 0x81, packet(0x36, topic, u16(1), x)],
  ['MQTT-3.3.2-2', 'PUBLISH', 'a wildcard in a topic name', 0x81, packet(0x30, text('a/+'), x)],
  ['MQTT-3.8.3-3', 'SUBSCRIBE', 'no topic filter', 0x82, packet(0x82, u16(1))],
  ['MQTT-3.8.3-4', 'SUBSCRIBE', 'requested QoS 3', 0x82, packet(0x82, u16(1), topic, u8(3))],
  ['MQTT-3.8.3-4', 'SUBSCRIBE', 'subscription options of MQTT 5', 0x82, packet(0x82, u16(1), topic, u8(4))],
  ['MQTT-3.10.3-2', 'UNSUBSCRIBE', 'no topic filter', 0x82, packet(0xa2, u16(1))],
  ['MQTT-4.7.1-2', 'SUBSCRIBE', '# before the last level', 0x81, packet(0x82, u16(1), text('#/a'), u8(0))],
  ['MQTT-4.7.1-3', 'SUBSCRIBE', '+ with other characters', 0x81, packet(0x82, u16(1), text('a+'), u8(0))],
  ['MQTT-4.7.2-1', 'SUBSCRIBE', 'an empty share name', 0x81, packet(0x82, u16(1), text('$share//a'), u8(0))],
  ['MQTT-4.7.2-1', 'SUBSCRIBE', 'a wildcard in a share name', 0x81, packet(0x82, u16(1), text('$share/+/a'), u8(0))],
  ['MQTT-4.7.3-1', 'PUBLISH', 'an empty topic name', 0x81, packet(0x30, text(''), x)],
  ['MQTT-4.8.0-1', 'AUTH', 'AUTH, which MQTT 3.1.1 reserves', 0x81, u8(0xf0, 0)],
  ['MQTT-4.8.0-1', 'SUBACK', 'a packet that a server sends', 0x82, packet(0x90, u16(1), u8(0))],
  ['MQTT-4.8.0-1', 'PUBACK', 'PUBACK with a reason code', 0x81, packet(0x40, u16(1), u8(0))],
  ['MQTT-4.8.0-1', 'DISCONNECT', 'DISCONNECT with a reason code', 0x81, packet(0xe0, u8(0))],
];

describe('the packet decoder', () => {
  itRefuses('MQTT 3.1.1', AS_FIRST, []);
  itRefuses('MQTT 3.1.1', CONNECTED, [FIRST]);
});
