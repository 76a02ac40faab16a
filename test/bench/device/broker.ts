/**
 * A broker that does nothing but acknowledge, over mutual TLS, so that the bench of the SDK measures the device's side. It
 * counts the messages, and how often a number was not the one after the last. Reports over IPC on request.
 *
 *     node bin/pinned.js test/bench/device/broker.ts KEY CERTIFICATE ROOT
 */

import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';

const [key, cert, ca] = process.argv.slice(2).map((path) => readFileSync(path, 'utf8')) as [string, string, string];
const CONNACK = Buffer.from([0x20, 2, 0, 0]);
const PINGRESP = Buffer.from([0xd0, 0]);

let counted = 0;
let misplaced = 0;
let last = -1;

/** One packet from `at` on, or undefined while it isn't whole. */
function frame(bytes: Buffer, at: number): { readonly body: number; readonly end: number } | undefined {
  let length = 0;
  for (let octet = 0; octet < 4; octet += 1) {
    const byte = bytes[at + 1 + octet];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * 128 ** octet;
    if (byte < 0x80) {
      const body = at + 2 + octet;
      return body + length <= bytes.length ? { body, end: body + length } : undefined;
    }
  }
  return undefined;
}

function answer(bytes: Buffer, at: number, body: number, end: number): Buffer | undefined {
  const first = bytes[at] as number;
  if (first >> 4 === 1) return CONNACK;
  if (first >> 4 === 12) return PINGRESP;
  if (first >> 4 === 8) {
    const filters: number[] = [];
    for (let next = body + 2; next < end; next += 3 + bytes.readUInt16BE(next)) filters.push(1);
    return Buffer.from([0x90, 2 + filters.length, bytes[body] as number, bytes[body + 1] as number, ...filters]);
  }
  if (first >> 4 !== 3) return undefined;
  const id = body + 2 + bytes.readUInt16BE(body);
  const number = Number.parseInt(bytes.toString('latin1', id + 2, id + 9), 10);
  counted += 1;
  if (number !== last + 1) misplaced += 1;
  last = number;
  return Buffer.from([0x40, 2, bytes[id] as number, bytes[id + 1] as number]);
}

const server = createServer({ key, cert, ca, requestCert: true, noDelay: true }, (socket) => {
  let rest: Buffer = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const answers: Buffer[] = [];
    let at = 0;
    for (let found = frame(bytes, at); found !== undefined; found = frame(bytes, at)) {
      const said = answer(bytes, at, found.body, found.end);
      if (said !== undefined) answers.push(said);
      at = found.end;
    }
    rest = bytes.subarray(at);
    if (answers.length > 0) socket.write(Buffer.concat(answers));
  });
});
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on('message', (order) => {
  if (order === 'count') process.send?.({ counted, misplaced });
  counted = 0;
  misplaced = 0;
  last = -1;
});
process.on('disconnect', () => process.exit());
