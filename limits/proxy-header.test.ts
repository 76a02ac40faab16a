import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from './crc32c.ts';
import { PROXY_HEADER_MAX, type ProxyHeader, parseProxyHeader } from './proxy-header.ts';

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const line = (text: string) => Buffer.from(`${text}\r\n`, 'latin1');

function binary(command: number, family: number, body: Buffer): Buffer {
  const head = Buffer.from([...SIGNATURE, command, family, 0, 0]);
  head.writeUInt16BE(body.length, 14);
  return Buffer.concat([head, body]);
}
const value = (type: number, bytes: Uint8Array): Buffer => {
  const head = Buffer.of(type, 0, 0);
  head.writeUInt16BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
};
const IPV4 = Buffer.of(192, 0, 2, 7, 198, 51, 100, 1, 0x1f, 0x90, 0x22, 0xb3);
const IPV6 = Buffer.from(`20010db8${'00'.repeat(11)}07${'20010db8'}${'00'.repeat(11)}01${'1f9022b3'}`, 'hex');

/** With the checksum as its last value. */
function checked(body: Buffer): Buffer {
  const header = binary(0x21, 0x11, Buffer.concat([body, value(0x03, Buffer.alloc(4))]));
  header.writeUInt32BE(crc32c(header), header.length - 4);
  return header;
}

describe('a complete header', () => {
  it.each<[string, Buffer, string | undefined]>([
    ['version 1, TCP4', line('PROXY TCP4 192.0.2.7 198.51.100.1 56324 8883'), '192.0.2.7'],
    ['version 1, TCP6', line('PROXY TCP6 2001:DB8:0:0::7 2001:db8::1 56324 8883'), '2001:db8::7'],
    ['version 1, an IPv4-mapped address', line('PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2'), '192.0.2.7'],
    ['version 1, UNKNOWN', line('PROXY UNKNOWN'), undefined],
    ['version 1, UNKNOWN and anything', line('PROXY UNKNOWN TCP4 192.0.2.7 \0'), undefined],
    ['version 1, its longest line', line(`PROXY UNKNOWN ${'f'.repeat(91)}`), undefined],
    ['version 2, TCP over IPv4', binary(0x21, 0x11, IPV4), '192.0.2.7'],
    ['version 2, TCP over IPv6', binary(0x21, 0x21, IPV6), '2001:db8::7'],
    ['version 2, a Unix socket', binary(0x21, 0x31, Buffer.alloc(216)), undefined],
    ['version 2, unspecified', binary(0x21, 0x00, Buffer.alloc(0)), undefined],
    ['version 2, LOCAL', binary(0x20, 0x00, Buffer.alloc(0)), undefined],
    ['version 2, LOCAL with any family and body', binary(0x20, 0x7f, Buffer.from('skipped')), undefined],
    [
      'version 2, a name that a proxy states',
      binary(0x21, 0x11, Buffer.concat([IPV4, value(0x22, Buffer.from('admin'))])),
      '192.0.2.7',
    ],
    ['version 2, a checksum', checked(IPV4), '192.0.2.7'],
    [
      'version 2, its largest size',
      binary(0x21, 0x11, Buffer.concat([IPV4, value(0x04, Buffer.alloc(505))])),
      '192.0.2.7',
    ],
  ])('is read with its length and its source address and nothing else: %s', (_name, header, source) => {
    const expected: ProxyHeader = { state: 'complete', length: header.length, source };
    expect(parseProxyHeader(header)).toEqual(expected);
    expect(parseProxyHeader(Buffer.concat([header, Buffer.from('\x16\x03\x01')]))).toEqual(expected);
    for (let length = 0; length < header.length; length += 1) {
      expect(parseProxyHeader(header.subarray(0, length)), String(length)).toEqual({ state: 'incomplete' });
    }
  });
});

describe('a header that the specification does not allow', () => {
  const longer = binary(0x21, 0x11, Buffer.concat([IPV4, value(0x04, Buffer.alloc(506))]));
  it.each<[string, Buffer]>([
    ['an address of another family', line('PROXY TCP4 2001:db8::7 198.51.100.1 1 2')],
    ['a zone', line('PROXY TCP6 fe80::1%eth0 ::1 1 2')],
    ['an address with a leading zero', line('PROXY TCP4 192.0.02.7 198.51.100.1 1 2')],
    ['an address of three numbers', line('PROXY TCP4 192.0.2 198.51.100.1 1 2')],
    ['a destination that is no address', line('PROXY TCP4 192.0.2.7 example.org 1 2')],
    ['a port of 65536', line('PROXY TCP4 192.0.2.7 198.51.100.1 65536 2')],
    ['a port with a leading zero', line('PROXY TCP4 192.0.2.7 198.51.100.1 01 2')],
    ['a missing port', line('PROXY TCP4 192.0.2.7 198.51.100.1 1')],
    ['a word too many', line('PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3')],
    ['two blanks', line('PROXY  TCP4 192.0.2.7 198.51.100.1 1 2')],
    ['a tab', line('PROXY TCP4\t192.0.2.7 198.51.100.1 1 2')],
    ['another protocol', line('PROXY UDP4 192.0.2.7 198.51.100.1 1 2')],
    ['a lower-case protocol', line('PROXY tcp4 192.0.2.7 198.51.100.1 1 2')],
    ['a line feed alone', Buffer.from(`PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n${' '.repeat(80)}\r\n`)],
    ['a line of 108 bytes', line(`PROXY UNKNOWN ${'f'.repeat(92)}`)],
    ['version 1 in version 2', binary(0x11, 0x11, IPV4)],
    ['version 3', binary(0x31, 0x11, IPV4)],
    ['an unknown command', binary(0x22, 0x11, IPV4)],
    ['UDP', binary(0x21, 0x12, IPV4)],
    ['an unknown family', binary(0x21, 0x41, IPV4)],
    ['a family without protocol', binary(0x21, 0x10, IPV4)],
    ['an end within the addresses', binary(0x21, 0x21, IPV4)],
    ['a truncated value', binary(0x21, 0x11, Buffer.concat([IPV4, Buffer.of(1, 0)]))],
    ['a value longer than the header', binary(0x21, 0x11, Buffer.concat([IPV4, Buffer.of(1, 0, 9, 0)]))],
    ['a wrong checksum', checked(IPV4).fill(0, 16, 17)],
    ['a checksum of three bytes', binary(0x21, 0x11, Buffer.concat([IPV4, value(0x03, Buffer.alloc(3))]))],
    [`more than ${PROXY_HEADER_MAX} bytes`, longer],
  ])('is refused: %s', (_name, header) => {
    expect(parseProxyHeader(header)).toEqual({ state: 'invalid', reason: expect.any(String) });
  });

  it('is refused by its declared length, before its bytes are there', () => {
    const head = Buffer.from([...SIGNATURE, 0x21, 0x11, 0xff, 0xff]);
    expect(parseProxyHeader(head)).toMatchObject({ state: 'invalid' });
  });
});

describe('bytes that are no header', () => {
  it.each<[string, Buffer]>([
    ['a ClientHello', Buffer.from('1603010200010001fc0303', 'hex')],
    ['a request', Buffer.from('GET / HTTP/1.1\r\n')],
    ['a lower-case word', Buffer.from('proxy TCP4')],
    ['half a signature', Buffer.from('\r\n\r\nQUIT\n')],
    ['one byte', Buffer.of(0x16)],
  ])('are told from an incomplete one at the first byte that differs: %s', (_name, bytes) => {
    expect(parseProxyHeader(bytes)).toEqual({ state: 'missing' });
  });
});

describe('any bytes', () => {
  const start = fc.constantFrom(
    Buffer.alloc(0),
    SIGNATURE,
    Buffer.from([...SIGNATURE, 0x21]),
    Buffer.from('PROXY '),
    Buffer.from('PROXY TCP4 '),
  );
  const input = fc.tuple(start, fc.uint8Array({ maxLength: 700 })).map((parts) => Buffer.concat(parts));

  it('are decided within the size limit, and a decision does not depend on the bytes after it', () => {
    fc.assert(
      fc.property(input, fc.uint8Array({ maxLength: 20 }), (bytes, more) => {
        const header = parseProxyHeader(bytes);
        if (header.state === 'incomplete') expect(bytes.length).toBeLessThan(PROXY_HEADER_MAX);
        else expect(parseProxyHeader(Buffer.concat([bytes, more]))).toEqual(header);
        if (header.state === 'complete') {
          expect(header.length).toBeLessThanOrEqual(Math.min(bytes.length, PROXY_HEADER_MAX));
          expect(parseProxyHeader(bytes.subarray(0, header.length - 1))).toEqual({ state: 'incomplete' });
        }
      }),
    );
  });

  it('of any address and any values are read as the address that they state', () => {
    const values = fc.array(fc.tuple(fc.constantFrom(1, 2, 4, 5, 0x20, 0x30, 0xee), fc.uint8Array({ maxLength: 40 })), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(fc.ipV4(), fc.ipV4(), values, (source, destination, tlvs) => {
        const addresses = [...source.split('.'), ...destination.split('.')].map(Number);
        const body = Buffer.concat([
          Buffer.of(...addresses, 0, 1, 0, 2),
          ...tlvs.map(([type, bytes]) => value(type, bytes)),
        ]);
        expect(parseProxyHeader(binary(0x21, 0x11, body))).toMatchObject({ state: 'complete', source });
        expect(parseProxyHeader(line(`PROXY TCP4 ${source} ${destination} 1 2`))).toMatchObject({ source });
      }),
    );
  });
});

it('CRC-32C has the check value of its definition', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
});
