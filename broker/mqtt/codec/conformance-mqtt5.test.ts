/** Clauses of MQTT 5 about the form of a packet from a client, on the decoder alone: a packet that breaks each, and what the decoder states. */

import { describe } from 'vitest';
import { type ConformanceRow, itRefuses } from '../../../test/fixtures/broker/conformance-rows.ts';
import { NO_PROPERTIES, properties } from '../../../test/fixtures/broker/mqtt5-corpus/case.ts';
import { connect5, will5 } from '../../../test/fixtures/broker/mqtt5-corpus/connect-cases.ts';
import { property } from '../../../test/fixtures/broker/mqtt5-corpus/property-cases.ts';
import { packet, text, u8, u16 } from '../../../test/fixtures/broker/packet-parts.ts';

const FIRST = connect5();
const topic = text('a/b');
const x = Buffer.from('x');
const badText = text(u8(0x61, 0xc0, 0x80));
const nul = text('a\0b');

/** The first packet of a connection. */
const AS_FIRST: readonly ConformanceRow[] = [
  ['MQTT-3.1.2-3', 'CONNECT', 'the reserved connect flag', 0x81, connect5({ flags: 3 })],
  ['MQTT-3.1.2-11', 'CONNECT', 'a will QoS without a will', 0x82, connect5({ flags: 0x0a })],
  ['MQTT-3.1.2-12', 'CONNECT', 'will QoS 3', 0x81, connect5({ flags: 0x1e, payload: will5() })],
  ['MQTT-3.1.2-13', 'CONNECT', 'will retain without a will', 0x82, connect5({ flags: 0x22 })],
  [
    'MQTT 5, 3.1.2.11.2',
    'CONNECT',
    'Session Expiry Interval twice',
    0x82,
    connect5({ properties: properties(property(0x11), property(0x11)) }),
  ],
  ['MQTT 5, 3.1.2.11.3', 'CONNECT', 'Receive Maximum 0', 0x82, connect5({ properties: properties(u8(0x21, 0, 0)) })],
  [
    'MQTT 5, 3.1.2.11.4',
    'CONNECT',
    'Maximum Packet Size 0',
    0x82,
    connect5({ properties: properties(u8(0x27, 0, 0, 0, 0)) }),
  ],
  [
    'MQTT 5, 3.1.2.11.6',
    'CONNECT',
    'Request Response Information 2',
    0x82,
    connect5({ properties: properties(u8(0x19, 2)) }),
  ],
  [
    'MQTT 5, 3.1.2.11.7',
    'CONNECT',
    'Request Problem Information 2',
    0x82,
    connect5({ properties: properties(u8(0x17, 2)) }),
  ],
  [
    'MQTT 5, 3.1.2.11.10',
    'CONNECT',
    'Authentication Data without a method',
    0x82,
    connect5({ properties: properties(property(0x16)) }),
  ],
  [
    'MQTT 5, 3.1.3.2.3',
    'CONNECT',
    'Payload Format Indicator 2',
    0x82,
    connect5({ flags: 6, payload: will5('w', properties(u8(1, 2))) }),
  ],
];

/** A packet after CONNECT. */
const CONNECTED: readonly ConformanceRow[] = [
  ['MQTT-1.5.4-1', 'PUBLISH', 'ill-formed UTF-8', 0x81, packet(0x30, badText, NO_PROPERTIES, x)],
  ['MQTT-1.5.4-2', 'PUBLISH', 'U+0000', 0x81, packet(0x30, nul, NO_PROPERTIES, x)],
  ['MQTT-1.5.5-1', 'PUBLISH', 'a remaining length of five bytes', 0x81, u8(0x30, 0x80, 0x80, 0x80, 0x80, 0x01)],
  ['MQTT-1.5.5-1', 'PUBLISH', 'a property length that is not minimal', 0x81, packet(0x30, topic, u8(0x80, 0))],
  ['MQTT-2.1.3-1', 'PUBREL', 'reserved flags', 0x81, packet(0x60, u16(1))],
  ['MQTT-2.2.1-3', 'PUBLISH', 'packet identifier 0', 0x82, packet(0x32, topic, u16(0), NO_PROPERTIES)],
  ['MQTT-2.2.2-1', 'PUBLISH', 'no property length', 0x81, packet(0x30, topic)],
  ['MQTT 5, 2.1.2', 'packet type 0', 'packet type 0', 0x81, u8(0, 0)],
  ['MQTT 5, 2.1.2', 'SUBACK', 'a packet that a server sends', 0x82, packet(0x90, u16(1), u8(0, 0))],
  ['MQTT 5, 2.2.2.1', 'PUBLISH', 'properties beyond their packet', 0x81, packet(0x30, topic, u8(9, 1, 1))],
  ['MQTT 5, 2.2.2.1', 'PUBLISH', 'half a user property', 0x81, packet(0x30, topic, properties(u8(0x26), text('name')))],
  ['MQTT 5, 2.2.2.2', 'PUBLISH', 'an unknown property', 0x81, packet(0x30, topic, properties(u8(0x04, 1)))],
  ['MQTT 5, 2.2.2.2', 'PUBLISH', 'a property of another packet', 0x81, packet(0x30, topic, properties(property(0x1f)))],
  ['MQTT-3.1.0-2', 'CONNECT', 'a second CONNECT', 0x82, FIRST],
  ['MQTT-3.3.1-2', 'PUBLISH', 'DUP with QoS 0', 0x82, packet(0x38, topic, NO_PROPERTIES)],
  ['MQTT-3.3.1-4', 'PUBLISH', 'QoS 3', 0x81, packet(0x36, topic, u16(1), NO_PROPERTIES)],
  ['MQTT-3.3.2-2', 'PUBLISH', 'a wildcard in a topic name', 0x81, packet(0x30, text('a/+'), NO_PROPERTIES)],
  ['MQTT-3.3.2-8', 'PUBLISH', 'topic alias 0', 0x94, packet(0x30, topic, properties(u8(0x23, 0, 0)))],
  [
    'MQTT-3.3.2-9',
    'PUBLISH',
    'a topic alias above the maximum',
    0x94,
    packet(0x30, topic, properties(u8(0x23, 0, 17))),
  ],
  [
    'MQTT-3.3.2-14',
    'PUBLISH',
    'a wildcard in a response topic',
    0x81,
    packet(0x30, topic, properties(u8(8), text('a/#'))),
  ],
  ['MQTT-3.3.4-6', 'PUBLISH', 'a Subscription Identifier', 0x82, packet(0x30, topic, properties(property(0x0b)))],
  ['MQTT 5, 3.3.2.1', 'PUBLISH', 'no topic and no alias', 0x82, packet(0x30, text(''), NO_PROPERTIES)],
  ['MQTT 5, 3.3.2.3.2', 'PUBLISH', 'Payload Format Indicator 2', 0x82, packet(0x30, topic, properties(u8(1, 2)))],
  ['MQTT-3.4.2-1', 'PUBACK', '0x10, which only a server sends', 0x82, packet(0x40, u16(1), u8(0x10))],
  ['MQTT-3.5.2-1', 'PUBREC', '0x92, which PUBREC does not have', 0x82, packet(0x50, u16(1), u8(0x92))],
  ['MQTT-3.6.2-1', 'PUBREL', '0x87, which PUBREL does not have', 0x82, packet(0x62, u16(1), u8(0x87))],
  ['MQTT-3.7.2-1', 'PUBCOMP', '0x80, which PUBCOMP does not have', 0x82, packet(0x70, u16(1), u8(0x80))],
  ['MQTT-3.8.3-2', 'SUBSCRIBE', 'no topic filter', 0x82, packet(0x82, u16(1), NO_PROPERTIES)],
  [
    'MQTT-3.8.3-4',
    'SUBSCRIBE',
    'No Local on a shared subscription',
    0x82,
    packet(0x82, u16(1), NO_PROPERTIES, text('$share/g/a'), u8(4)),
  ],
  [
    'MQTT-3.8.3-5',
    'SUBSCRIBE',
    'reserved subscription options',
    0x81,
    packet(0x82, u16(1), NO_PROPERTIES, topic, u8(0x40)),
  ],
  [
    'MQTT 5, 3.8.2.1.2',
    'SUBSCRIBE',
    'Subscription Identifier 0',
    0x82,
    packet(0x82, u16(1), properties(u8(0x0b, 0)), topic, u8(0)),
  ],
  ['MQTT 5, 3.8.3.1', 'SUBSCRIBE', 'requested QoS 3', 0x82, packet(0x82, u16(1), NO_PROPERTIES, topic, u8(3))],
  ['MQTT 5, 3.8.3.1', 'SUBSCRIBE', 'Retain Handling 3', 0x82, packet(0x82, u16(1), NO_PROPERTIES, topic, u8(0x30))],
  ['MQTT-3.10.3-2', 'UNSUBSCRIBE', 'no topic filter', 0x82, packet(0xa2, u16(1), NO_PROPERTIES)],
  ['MQTT-3.14.2-1', 'DISCONNECT', 'a reason code that only a server sends', 0x82, packet(0xe0, u8(0x8b))],
  [
    'MQTT 5, 3.14.2.2.2',
    'DISCONNECT',
    'an expiry, though CONNECT had none',
    0x82,
    packet(0xe0, u8(0), properties(property(0x11))),
  ],
  [
    'MQTT-4.7.1-1',
    'SUBSCRIBE',
    '# before the last level',
    0x81,
    packet(0x82, u16(1), NO_PROPERTIES, text('#/a'), u8(0)),
  ],
  [
    'MQTT-4.7.1-2',
    'SUBSCRIBE',
    '+ with other characters',
    0x81,
    packet(0x82, u16(1), NO_PROPERTIES, text('a+'), u8(0)),
  ],
  ['MQTT-4.7.3-1', 'SUBSCRIBE', 'an empty topic filter', 0x81, packet(0x82, u16(1), NO_PROPERTIES, text(''), u8(0))],
  [
    'MQTT-4.8.2-1',
    'SUBSCRIBE',
    'an empty share name',
    0x81,
    packet(0x82, u16(1), NO_PROPERTIES, text('$share//a'), u8(0)),
  ],
  [
    'MQTT-4.8.2-2',
    'UNSUBSCRIBE',
    'a share name without a filter',
    0x81,
    packet(0xa2, u16(1), NO_PROPERTIES, text('$share/g')),
  ],
  [
    'MQTT-4.8.2-2',
    'SUBSCRIBE',
    'a wildcard in a share name',
    0x81,
    packet(0x82, u16(1), NO_PROPERTIES, text('$share/+/a'), u8(0)),
  ],
  ['MQTT-4.12.0-7', 'AUTH', 'AUTH', 0x82, u8(0xf0, 0)],
  ['MQTT-4.13.1-1', 'SUBSCRIBE', 'a field beyond its packet', 0x81, packet(0x82, u16(1), NO_PROPERTIES, topic)],
  ['MQTT-4.13.1-1', 'PINGREQ', 'PINGREQ with a body', 0x81, u8(0xc0, 1, 0)],
];

describe('the packet decoder', () => {
  itRefuses('MQTT 5', AS_FIRST, []);
  itRefuses('MQTT 5', CONNECTED, [FIRST]);
});
