/** Enrollment as by a device, but with a request that was encoded before and a response that is parsed afterwards. */

import { connect, createSecureContext, type TLSSocket } from 'node:tls';
import { readCertsOnly } from '@rollcall/device-sdk/building-blocks';
import { EST_MEDIA_TYPES, EST_PATHS } from '@rollcall/protocol';
import { type Applicant, CLIENT_TLS } from './devices.ts';

const HEAD_END = Buffer.from('\r\n\r\n');
const WITHOUT_CERTIFICATE = createSecureContext(CLIENT_TLS);

export function enrollmentRequest(applicant: Applicant, token: string, connections: 'new' | 'reused'): Buffer {
  const body = applicant.csr.toString('base64');
  const login = Buffer.from(`${applicant.id}:${token}`).toString('base64');
  return Buffer.from(
    [
      `POST ${EST_PATHS.simpleenroll} HTTP/1.1`,
      'Host: localhost',
      `Authorization: Basic ${login}`,
      `Content-Type: ${EST_MEDIA_TYPES.request}`,
      `Content-Length: ${body.length}`,
      ...(connections === 'new' ? ['Connection: close'] : []),
      '',
      body,
    ].join('\r\n'),
  );
}

/** A connection to the enroll server, without a certificate. */
export function openEnrollConnection(port: number): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, secureContext: WITHOUT_CERTIFICATE, rejectUnauthorized: false });
    socket.setNoDelay(true);
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      socket.removeListener('error', reject);
      socket.on('error', () => {}); // 'close' follows
      resolve(socket);
    });
  });
}

/** Sends a request and resolves with the whole answer. */
export function exchange(socket: TLSSocket, request: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let answer: Buffer = Buffer.alloc(0);
    let total = Number.POSITIVE_INFINITY;
    const closed = () => reject(new Error(`expected an answer, found the end after ${answer.length} bytes`));
    const received = (bytes: Buffer) => {
      answer = answer.length === 0 ? bytes : Buffer.concat([answer, bytes]);
      if (total === Number.POSITIVE_INFINITY) total = lengthOf(answer);
      if (answer.length < total) return;
      socket.removeListener('data', received);
      socket.removeListener('close', closed);
      resolve(answer);
    };
    socket.on('data', received);
    socket.once('close', closed);
    socket.write(request);
  });
}

/** Waits for the end of a connection that the server closes after its answer. */
export function untilClosed(socket: TLSSocket): Promise<void> {
  if (socket.closed) return Promise.resolve();
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
    socket.resume();
  });
}

/** The certificate in an answer, PEM. Throws for any other answer. */
export function certificateOf(answer: Buffer): string {
  const headEnd = answer.indexOf(HEAD_END);
  const statusLine = answer.toString('latin1', 0, answer.indexOf('\r\n'));
  if (!statusLine.startsWith('HTTP/1.1 200 ')) throw new Error(`expected a certificate, found ${statusLine}`);
  const body = answer.toString('latin1', headEnd + HEAD_END.length);
  const leaf = readCertsOnly(Buffer.from(body, 'base64'))?.[0];
  if (leaf === undefined) throw new Error('expected a certs-only answer, found another');
  return leaf.toString();
}

/** Length of the whole answer; infinite while its head isn't complete. */
function lengthOf(answer: Buffer): number {
  const headEnd = answer.indexOf(HEAD_END);
  if (headEnd < 0) return Number.POSITIVE_INFINITY;
  const length = /^content-length: (\d+)\r?$/im.exec(answer.toString('latin1', 0, headEnd))?.[1];
  if (length === undefined) throw new Error('expected an answer with a length');
  return headEnd + HEAD_END.length + Number(length);
}
