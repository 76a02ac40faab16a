/**
 * An EST server over real TLS that does what a script says: it records every request, enrolls by default, and answers
 * otherwise where a test tells it to. For tests of the device's side only.
 */

import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { formatBootstrapToken } from '../../contract/bootstrap-token.ts';
import type { ScriptedAuthority, ServerCredential } from './scripted-authority.ts';

export interface EstRequest {
  readonly path: string;
  readonly method: string;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly contentType: string | undefined;
  /** The body decoded from base64. */
  readonly csr: Buffer;
  /** Common name of the client certificate, if a verified one came. */
  readonly peer: string | undefined;
}

export interface EstAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export interface ScriptedEstServer {
  readonly url: string;
  readonly requests: readonly EstRequest[];
  /** TCP connections accepted so far. */
  readonly connections: number;
  /** A token whose pin is this server's own root, or another. */
  token(rootSha256?: string): string;
  /** `device-N` in order, unless the user name asks for a name. */
  readonly issuedIds: readonly string[];
  close(): Promise<void>;
}

export interface EstScript {
  /** Answers in place of the default; undefined leaves the request to it. `drop` closes the connection unanswered, `hold` keeps it. */
  readonly answer?: (request: EstRequest, sofar: number) => EstAnswer | 'drop' | 'hold' | undefined;
  /** As `answer`, after the default has issued: the certificate exists and the device doesn't learn of it. */
  readonly afterIssue?: (request: EstRequest, sofar: number) => EstAnswer | 'drop' | undefined;
  readonly mqttUrl?: () => string;
  /** The server's clock, milliseconds since 1970. */
  readonly now?: () => number;
  /** What the TLS listener presents, in place of the authority's own server certificate. */
  readonly identity?: ServerCredential;
}

export async function startScriptedEstServer(
  authority: ScriptedAuthority,
  script: EstScript = {},
): Promise<ScriptedEstServer> {
  const requests: EstRequest[] = [];
  const issuedIds: string[] = [];
  const issuedByKey = new Map<string, string>();
  let connections = 0;
  const identity = script.identity ?? authority.server;

  function issue(request: EstRequest): EstAnswer {
    const wanted = request.peer ?? (request.user === '' ? undefined : request.user);
    const key = authority.publicKeyOf(request.csr);
    let certificate = issuedByKey.get(key);
    if (certificate === undefined) {
      const id = wanted ?? `device-${issuedIds.length + 1}`;
      issuedIds.push(id);
      certificate = authority.issue(request.csr, id);
      issuedByKey.set(key, certificate);
    }
    return {
      status: 200,
      headers: script.mqttUrl === undefined ? {} : { 'rollcall-mqtt-url': script.mqttUrl() },
      body: authority.certsOnly(certificate).toString('base64'),
    };
  }

  function byDefault(request: EstRequest): EstAnswer {
    if (request.path.endsWith('/cacerts')) {
      return { status: 200, body: authority.certsOnly(authority.rootPem, authority.issuingPem).toString('base64') };
    }
    if (!/\/simple(re)?enroll$/.test(request.path)) return problem(404, 'not_found');
    if (request.path.endsWith('/simplereenroll') && request.peer === undefined)
      return problem(401, 'certificate_required');
    return issue(request);
  }

  const server = createServer(
    {
      key: identity.keyPem,
      cert: identity.certificatePem,
      ca: authority.rootPem,
      requestCert: true,
      rejectUnauthorized: false,
    },
    (incoming, outgoing) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => {
        const socket = incoming.socket as TLSSocket;
        const basic = /^Basic (.+)$/.exec(incoming.headers.authorization ?? '')?.[1];
        const [, user, password] = /^([^:]*):(.*)$/.exec(Buffer.from(basic ?? '', 'base64').toString()) ?? [];
        const request: EstRequest = {
          path: incoming.url ?? '',
          method: incoming.method ?? '',
          user,
          password,
          contentType: incoming.headers['content-type'],
          csr: Buffer.from(Buffer.concat(chunks).toString(), 'base64'),
          peer: socket.authorized ? (socket.getPeerCertificate().subject.CN as string) : undefined,
        };
        const sofar = requests.push(request) - 1;
        let answer: EstAnswer | 'drop' | 'hold' = script.answer?.(request, sofar) ?? byDefault(request);
        if (typeof answer === 'object') answer = script.afterIssue?.(request, sofar) ?? answer;
        if (answer === 'drop') socket.destroy();
        else if (answer !== 'hold') {
          const date = new Date(script.now?.() ?? Date.now()).toUTCString();
          outgoing.writeHead(answer.status, { date, ...answer.headers }).end(answer.body);
        }
      });
    },
  );
  server.on('connection', () => {
    connections += 1;
  });
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;

  return {
    url,
    requests,
    issuedIds,
    get connections() {
      return connections;
    },
    token: (rootSha256 = authority.rootSha256) =>
      formatBootstrapToken({
        id: '0123456789abcdef',
        secret: Buffer.alloc(20, 7).toString('base64url'),
        rootSha256,
        enrollUrl: url,
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** A refusal as Rollcall's own servers write it (RFC 9457). */
export function problem(status: number, code: string, headers: Readonly<Record<string, string>> = {}): EstAnswer {
  return {
    status,
    headers: { ...headers, 'content-type': 'application/problem+json' },
    body: JSON.stringify({ type: `urn:rollcall:problem:${code}`, status, code, detail: code }),
  };
}
