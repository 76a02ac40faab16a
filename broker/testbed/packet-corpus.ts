/**
 * Inputs that MQTT 3.1.1 or our limits oblige a server to refuse, and their nearest neighbours that it must take,
 * made from the standard's own lists: every packet type, flag, field and length. Pure; sends nothing.
 */

import type { GateLimits } from '../packet-gate.ts';

export interface CorpusCase {
  readonly name: string;
  /** When the bytes are sent: as the first of the connection, or once the session is there. */
  readonly after: 'handshake' | 'connack';
  readonly bytes: Buffer;
  /** `close`: without an answer; a number: CONNACK with it, then close; `taken`: the connection lives on. */
  readonly verdict: 'close' | 1 | 2 | 'taken';
}

export interface CorpusOptions {
  readonly limits: GateLimits;
  /** A client id that is let in, of at least eight characters. */
  readonly clientId: string;
  /** Where messages go that are to be taken, unless the topic itself is what is tried. */
  readonly topic?: string;
}

const text = (value: string | Buffer): Buffer => {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
  return Buffer.concat([u16(bytes.length), bytes]);
};
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const u8 = (...values: number[]): Buffer => Buffer.from(values);

export function remainingLength(value: number): Buffer {
  const digits: number[] = [];
  let left = value;
  do {
    digits.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    left >>>= 7;
  } while (left > 0);
  return Buffer.from(digits);
}

export function packet(first: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([u8(first), remainingLength(body.length), body]);
}

export interface ConnectParts {
  readonly protocol?: Buffer;
  readonly level?: number;
  readonly flags?: number;
  readonly keepalive?: number;
  readonly payload?: readonly Buffer[];
}

export function connect(clientId: string | Buffer, parts: ConnectParts = {}): Buffer {
  const { protocol = text('MQTT'), level = 4, flags = 2, keepalive = 60, payload = [] } = parts;
  return packet(0x10, protocol, u8(level, flags), u16(keepalive), text(clientId), ...payload);
}

/** Ill-formed UTF-8 (RFC 3629, section 4; MQTT 3.1.1, section 1.5.3), each inside a longer text. */
const BAD_TEXT: readonly (readonly [string, readonly number[]])[] = [
  ['NUL', [0x00]],
  ['a continuation byte alone', [0x80]],
  ['the last continuation byte alone', [0xbf]],
  ['C0 80, an overlong NUL', [0xc0, 0x80]],
  ['C1 BF, an overlong DEL', [0xc1, 0xbf]],
  ['E0 80 80, overlong', [0xe0, 0x80, 0x80]],
  ['E0 9F BF, overlong', [0xe0, 0x9f, 0xbf]],
  ['F0 80 80 80, overlong', [0xf0, 0x80, 0x80, 0x80]],
  ['F0 8F BF BF, overlong', [0xf0, 0x8f, 0xbf, 0xbf]],
  ['ED A0 80, the first surrogate', [0xed, 0xa0, 0x80]],
  ['ED AF BF, a high surrogate', [0xed, 0xaf, 0xbf]],
  ['ED B0 80, a low surrogate', [0xed, 0xb0, 0x80]],
  ['ED BF BF, the last surrogate', [0xed, 0xbf, 0xbf]],
  ['CESU-8', [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]],
  ['F4 90 80 80, beyond U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
  ['F5 80 80 80', [0xf5, 0x80, 0x80, 0x80]],
  ['F8 88 80 80 80, five bytes', [0xf8, 0x88, 0x80, 0x80, 0x80]],
  ['FC 84 80 80 80 80, six bytes', [0xfc, 0x84, 0x80, 0x80, 0x80, 0x80]],
  ['FE', [0xfe]],
  ['FF', [0xff]],
  ['two bytes cut to one', [0xc3]],
  ['three bytes cut to one', [0xe2]],
  ['three bytes cut to two', [0xe2, 0x82]],
  ['four bytes cut to three', [0xf0, 0x9f, 0x98]],
  ['a lead byte before ASCII', [0xc3, 0x41]],
  ['a third byte that is none', [0xe2, 0x82, 0x41]],
];

/** Well-formed, and left alone: the BOM has no meaning [MQTT-1.5.3-3]. */
const GOOD_TEXT: readonly (readonly [string, readonly number[]])[] = [
  ['U+0001', [0x01]],
  ['U+007F', [0x7f]],
  ['U+0080', [0xc2, 0x80]],
  ['U+07FF', [0xdf, 0xbf]],
  ['U+0800', [0xe0, 0xa0, 0x80]],
  ['U+D7FF', [0xed, 0x9f, 0xbf]],
  ['U+E000', [0xee, 0x80, 0x80]],
  ['U+FEFF, the BOM', [0xef, 0xbb, 0xbf]],
  ['U+FFFF', [0xef, 0xbf, 0xbf]],
  ['U+10000', [0xf0, 0x90, 0x80, 0x80]],
  ['U+10FFFF', [0xf4, 0x8f, 0xbf, 0xbf]],
];

const around = (bytes: readonly number[]): Buffer => Buffer.from([0x61, ...bytes, 0x62]);
const atEnd = (bytes: readonly number[]): Buffer => Buffer.from([0x61, ...bytes]);

const BAD_FILTERS = [
  '',
  'a/#/b',
  '#/a',
  'a#',
  'a/b#',
  '#a',
  'a/#b',
  '##',
  'a+',
  '+a',
  'a/+b',
  'a/b+/c',
  '++',
  'a/++',
  '+#',
  '+/#/+',
];
const GOOD_FILTERS = ['a', '/', '//', '/a', 'a/', '+', '#', '+/+', '/+', '+/#', 'a/+/b', 'a/#', '/#', ' ', 'a b'];
const BAD_TOPICS = ['', '+', '#', 'a/+', 'a/#', '+/a', 'a+', 'a#b', '/+', 'a/+/b'];

export function buildCorpus({ limits, clientId, topic: ordinary = 'a' }: CorpusOptions): readonly CorpusCase[] {
  const cases: CorpusCase[] = [];
  const first = (name: string, verdict: CorpusCase['verdict'], bytes: Buffer) =>
    cases.push({ name, after: 'handshake', bytes, verdict });
  const then = (name: string, verdict: CorpusCase['verdict'], bytes: Buffer) =>
    cases.push({ name, after: 'connack', bytes, verdict });

  const publish = (topic: string | Buffer, flags = 0, id?: number, payload = 'x') =>
    packet(0x30 | flags, text(topic), ...(id === undefined ? [] : [u16(id)]), Buffer.from(payload));
  const subscribe = (filters: readonly (readonly [string | Buffer, number])[], id = 1) =>
    packet(0x82, u16(id), ...filters.flatMap(([filter, qos]) => [text(filter), u8(qos)]));
  const unsubscribe = (filters: readonly (string | Buffer)[], id = 1) =>
    packet(0xa2, u16(id), ...filters.map((filter) => text(filter)));

  // The first packet [MQTT-3.1.0-1], its flags, the version.
  for (let byte = 0; byte < 256; byte += 1) {
    if (byte !== 0x10) first(`first byte ${hex(byte)}`, 'close', u8(byte));
  }
  first('CONNECT', 'taken', connect(clientId));
  for (const level of [0, 1, 2, 3, 5, 6, 0x83, 0x84, 255]) first(`level ${level}`, 1, connect(clientId, { level }));
  first('MQTT 3.1', 1, connect(clientId, { protocol: text('MQIsdp'), level: 3 }));
  const mqtt5 = packet(0x10, text('MQTT'), u8(5, 2), u16(60), u8(0), text(clientId));
  first('MQTT 5', 1, mqtt5);
  for (const name of ['', 'mqtt', 'MQTt', 'MQT', 'MQTTT', 'MQTT\0', 'HTTP', 'x'.repeat(300)]) {
    first(`protocol name ${JSON.stringify(name.slice(0, 8))}`, 'close', connect(clientId, { protocol: text(name) }));
  }
  for (const [name, bytes] of BAD_TEXT)
    first(`protocol name with ${name}`, 'close', connect(clientId, { protocol: text(around(bytes)) }));

  // Connect flags: every byte that breaks a rule, with a payload that would fit it.
  const fields = (flags: number) => [
    ...(flags & 0x04 ? [text('will'), text('gone')] : []),
    ...(flags & 0x80 ? [text('user')] : []),
    ...(flags & 0x40 ? [text('secret')] : []),
  ];
  for (let flags = 0; flags < 256; flags += 1) {
    const hasWill = (flags & 0x04) !== 0;
    const broken =
      (flags & 0x01) !== 0 ||
      (flags & 0x18) === 0x18 ||
      (!hasWill && (flags & 0x38) !== 0) ||
      ((flags & 0x40) !== 0 && (flags & 0x80) === 0);
    first(
      `connect flags ${hex(flags)}`,
      broken ? 'close' : 'taken',
      connect(clientId, { flags, payload: fields(flags) }),
    );
  }

  // Texts of CONNECT.
  for (const [name, bytes] of BAD_TEXT) {
    first(`client id with ${name}`, 'close', connect(around(bytes)));
    first(`client id that ends in ${name}`, 'close', connect(atEnd(bytes)));
    first(`user name with ${name}`, 'close', connect(clientId, { flags: 0x82, payload: [text(around(bytes))] }));
    first(
      `will topic with ${name}`,
      'close',
      connect(clientId, { flags: 0x06, payload: [text(around(bytes)), text('')] }),
    );
  }
  for (const [name, bytes] of GOOD_TEXT) {
    first(`user name with ${name}`, 'taken', connect(clientId, { flags: 0x82, payload: [text(around(bytes))] }));
  }
  first(
    'a password of any bytes',
    'taken',
    connect(clientId, { flags: 0xc2, payload: [text('u'), text(u8(0, 255, 0xed, 0xa0, 0x80))] }),
  );
  first(
    'a will message of any bytes',
    'taken',
    connect(clientId, { flags: 0x06, payload: [text('will'), text(u8(0, 255, 0xc0))] }),
  );
  for (const topic of BAD_TOPICS) {
    first(
      `will topic ${JSON.stringify(topic)}`,
      'close',
      connect(clientId, { flags: 0x06, payload: [text(topic), text('')] }),
    );
  }
  first(
    'will topic too long',
    'close',
    connect(clientId, { flags: 0x06, payload: [text('x'.repeat(limits.topicBytes + 1)), text('')] }),
  );
  first(
    'will topic too deep',
    'close',
    connect(clientId, { flags: 0x06, payload: [text('/'.repeat(limits.topicLevels)), text('')] }),
  );
  first('no client id, clean session', 2, connect(''));
  first('no client id, kept session', 2, connect('', { flags: 0 }));

  // Lengths of CONNECT.
  const whole = connect(clientId, { flags: 0xc6, payload: [text('will'), text('gone'), text('user'), text('secret')] });
  const headless = whole.subarray(2);
  for (let length = 0; length < headless.length; length += 1) {
    first(`CONNECT cut to ${length} bytes`, 'close', packet(0x10, headless.subarray(0, length)));
  }
  first('CONNECT with one byte more', 'close', packet(0x10, headless, u8(0)));
  first(
    'CONNECT with a will that no flag announces',
    'close',
    connect(clientId, { payload: [text('will'), text('gone')] }),
  );
  first(
    'CONNECT of the largest size',
    'taken',
    sized(0x10, limits.connectPacket, headlessOf(connect(clientId, { flags: 0x06, payload: [text('will')] }))),
  );
  first('CONNECT one byte too large', 'close', u8(0x10, ...remainingLength(limits.connectPacket - 2)));
  for (const bytes of [
    [0x80, 0x80, 0x80, 0x80],
    [0xff, 0xff, 0xff, 0xff],
    [0xff, 0xff, 0xff, 0x7f],
    [0x80, 0x00],
    [0x80, 0x80, 0x00],
    [0x80, 0x80, 0x80, 0x00],
  ]) {
    first(`CONNECT with remaining length ${bytes.map(hex).join(' ')}`, 'close', u8(0x10, ...bytes));
    then(`PUBLISH with remaining length ${bytes.map(hex).join(' ')}`, 'close', u8(0x30, ...bytes));
  }

  // Types and flags once connected [MQTT-2.2.2-2].
  then('a second CONNECT', 'close', connect(clientId));
  for (const type of [0, 2, 9, 11, 13, 15]) {
    for (let flags = 0; flags < 16; flags += 1)
      then(`type ${type}, flags ${flags}`, 'close', packet((type << 4) | flags, u16(1)));
  }
  for (const [type, rightFlags] of [
    [1, 0],
    [4, 0],
    [5, 0],
    [6, 2],
    [7, 0],
    [8, 2],
    [10, 2],
    [12, 0],
    [14, 0],
  ] as const) {
    for (let flags = 0; flags < 16; flags += 1) {
      if (flags !== rightFlags)
        then(`type ${type}, flags ${flags}`, 'close', packet((type << 4) | flags, u16(1), text('a'), u8(0)));
    }
  }
  for (const flags of [6, 7, 14, 15]) then(`PUBLISH QoS 3, flags ${flags}`, 'close', publish(ordinary, flags, 1));
  for (const flags of [8, 9]) then(`PUBLISH QoS 0 with DUP, flags ${flags}`, 'close', publish(ordinary, flags));
  for (const flags of [0, 1]) then(`PUBLISH QoS 0, flags ${flags}`, 'taken', publish(ordinary, flags));
  for (const flags of [2, 3, 4, 5, 10, 11, 12, 13])
    then(`PUBLISH flags ${flags}`, 'taken', publish(ordinary, flags, 9));

  // Fixed lengths, judged before the body comes.
  for (const type of [4, 5, 6, 7]) {
    for (const length of [0, 1, 3, 4, 5, 127, 128]) {
      then(
        `type ${type} of length ${length}`,
        'close',
        u8((type << 4) | (type === 6 ? 2 : 0), ...remainingLength(length)),
      );
    }
    then(`type ${type} with identifier 0`, 'close', packet((type << 4) | (type === 6 ? 2 : 0), u16(0)));
    then(`type ${type} for nothing`, 'taken', packet((type << 4) | (type === 6 ? 2 : 0), u16(77)));
  }
  for (const type of [12, 14])
    for (const length of [1, 2, 127])
      then(`type ${type} of length ${length}`, 'close', u8(type << 4, ...remainingLength(length)));
  then('DISCONNECT', 'close', u8(0xe0, 0));
  then('DISCONNECT and more', 'close', Buffer.concat([u8(0xe0, 0), publish(ordinary), u8(0xff)]));

  // PUBLISH.
  for (const topic of BAD_TOPICS) then(`PUBLISH to ${JSON.stringify(topic)}`, 'close', publish(topic));
  for (const [name, bytes] of BAD_TEXT) {
    then(`PUBLISH to a topic with ${name}`, 'close', publish(around(bytes)));
    then(`PUBLISH to a topic that ends in ${name}`, 'close', publish(atEnd(bytes), 2, 1));
  }
  for (const [name, bytes] of GOOD_TEXT) then(`PUBLISH to a topic with ${name}`, 'taken', publish(around(bytes)));
  for (const qos of [1, 2]) then(`PUBLISH QoS ${qos} with identifier 0`, 'close', publish(ordinary, qos << 1, 0));
  then('PUBLISH without a payload', 'taken', publish(ordinary, 0, undefined, ''));
  then('PUBLISH without a topic', 'close', packet(0x30));
  then('PUBLISH with half a topic length', 'close', packet(0x30, u8(0)));
  then('PUBLISH with a topic beyond its end', 'close', packet(0x30, u16(5), Buffer.from('abcd')));
  then('PUBLISH with a topic of 65,535 bytes announced', 'close', packet(0x30, u16(65_535), Buffer.from('a')));
  for (const length of [0, 1])
    then(
      `PUBLISH QoS 1 with ${length} bytes of identifier`,
      'close',
      packet(0x32, text(ordinary), Buffer.alloc(length)),
    );
  then('PUBLISH to the longest topic', 'taken', publish('x'.repeat(limits.topicBytes)));
  then('PUBLISH to a topic one byte too long', 'close', publish('x'.repeat(limits.topicBytes + 1)));
  then('PUBLISH to the deepest topic', 'taken', publish('/'.repeat(limits.topicLevels - 1)));
  for (const levels of [limits.topicLevels + 1, 101, 250])
    then(`PUBLISH to ${levels} levels`, 'close', publish('/'.repeat(levels - 1)));
  then('PUBLISH of the largest size', 'taken', sized(0x30, limits.packet, text(ordinary)));
  then('PUBLISH one byte too large', 'close', u8(0x30, ...remainingLength(limits.packet - 3)));
  then('PUBLISH of 256 MB', 'close', u8(0x30, ...remainingLength(268_435_455)));

  // SUBSCRIBE and UNSUBSCRIBE.
  for (const filter of BAD_FILTERS) {
    then(`SUBSCRIBE to ${JSON.stringify(filter)}`, 'close', subscribe([[filter, 0]]));
    then(
      `SUBSCRIBE to a and ${JSON.stringify(filter)}`,
      'close',
      subscribe([
        ['a', 0],
        [filter, 0],
      ]),
    );
    then(`UNSUBSCRIBE from ${JSON.stringify(filter)}`, 'close', unsubscribe([filter]));
  }
  for (const filter of GOOD_FILTERS) {
    then(`SUBSCRIBE to ${JSON.stringify(filter)}`, 'taken', subscribe([[filter, 1]]));
    then(`UNSUBSCRIBE from ${JSON.stringify(filter)}`, 'taken', unsubscribe([filter]));
  }
  for (const [name, bytes] of BAD_TEXT) {
    then(`SUBSCRIBE to a filter with ${name}`, 'close', subscribe([[around(bytes), 0]]));
    then(`UNSUBSCRIBE from a filter with ${name}`, 'close', unsubscribe([around(bytes)]));
  }
  for (let qos = 3; qos < 256; qos += 1) then(`SUBSCRIBE with QoS byte ${hex(qos)}`, 'close', subscribe([['a', qos]]));
  then(
    'SUBSCRIBE with a bad QoS byte in second place',
    'close',
    subscribe([
      ['a', 0],
      ['b', 3],
    ]),
  );
  then('SUBSCRIBE with identifier 0', 'close', subscribe([['a', 0]], 0));
  then('UNSUBSCRIBE with identifier 0', 'close', unsubscribe(['a'], 0));
  then('SUBSCRIBE without filters', 'close', subscribe([]));
  then('UNSUBSCRIBE without filters', 'close', unsubscribe([]));
  for (const first of [0x82, 0xa2]) {
    then(`${hex(first)} without anything`, 'close', packet(first));
    then(`${hex(first)} with half an identifier`, 'close', packet(first, u8(1)));
    then(`${hex(first)} with half a length`, 'close', packet(first, u16(1), u8(0)));
    then(`${hex(first)} with a filter beyond its end`, 'close', packet(first, u16(1), u16(4), Buffer.from('abc')));
  }
  then('SUBSCRIBE without a QoS byte', 'close', packet(0x82, u16(1), text('a')));
  const many = (count: number) => Array.from({ length: count }, (_, index) => `f${index}`);
  then(
    'SUBSCRIBE with the most filters',
    'taken',
    subscribe(many(limits.filtersPerPacket).map((filter) => [filter, 0])),
  );
  then(
    'SUBSCRIBE with one filter too many',
    'close',
    subscribe(many(limits.filtersPerPacket + 1).map((filter) => [filter, 0])),
  );
  then('UNSUBSCRIBE with one filter too many', 'close', unsubscribe(many(limits.filtersPerPacket + 1)));
  for (const levels of [limits.topicLevels + 1, 101]) {
    then(`SUBSCRIBE to ${levels} levels`, 'close', subscribe([['/'.repeat(levels - 1), 0]]));
    then(`UNSUBSCRIBE from ${levels} levels`, 'close', unsubscribe(['/'.repeat(levels - 1)]));
  }
  then('SUBSCRIBE to a filter one byte too long', 'close', subscribe([['x'.repeat(limits.topicBytes + 1), 0]]));
  then('PINGREQ', 'taken', u8(0xc0, 0));
  return cases;
}

function headlessOf(whole: Buffer): Buffer {
  let at = 1;
  while ((whole[at] as number) >= 0x80) at += 1;
  return whole.subarray(at + 1);
}

/** A packet of an exact size: the rest is a field with a two-byte length for CONNECT, and payload for PUBLISH. */
function sized(first: number, total: number, start: Buffer): Buffer {
  const header = 1 + remainingLength(total - 4).length;
  const rest = total - header - start.length;
  const filler = first === 0x10 ? text(Buffer.alloc(rest - 2, 0x78)) : Buffer.alloc(rest, 0x78);
  return packet(first, start, filler);
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0');
}
