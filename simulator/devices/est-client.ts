/**
 * An EST client (RFC 7030) for thousands of light devices: verified connections are kept open and shared, so that a certificate
 * costs one request. Keys are generated here and never sent.
 */

import { createPrivateKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { Agent, request } from 'node:https';
import { findPath, readCertsOnly, writeCsr } from '@rollcall/device-sdk/building-blocks';
import {
  addressOptions,
  EST_MEDIA_TYPES,
  EST_PATHS,
  MQTT_URL_HEADER,
  parseBootstrapToken,
  parseDecimal,
  urlHost,
} from '@rollcall/protocol';
import type { TlsIdentity } from './tls-connections.ts';

export interface EstRefusal {
  readonly refused: string;
  /** Seconds after which the server wants to be asked again. */
  readonly retryAfter?: number;
}

export interface EstCertificate {
  readonly identity: TlsIdentity;
  readonly mqttUrl: string | undefined;
}

export type EstResponse = EstCertificate | EstRefusal;

const TIMEOUT_MS = 30_000;
const ANSWER_MAX = 64 * 1024;

/** Where to enroll, and the root that every later connection is checked against. */
export interface EstServer {
  readonly enrollUrl: string;
  readonly rootPem: string;
}

/** Asks a server that is not trusted yet for its CA certificates, and finds the one that the token pins. */
export async function findEstServer(token: string): Promise<EstServer> {
  const parsed = parseBootstrapToken(token);
  if (parsed === undefined) throw new Error('expected a bootstrap token, found another text');
  const answer = await exchange(parsed.enrollUrl, {
    method: 'GET',
    path: EST_PATHS.cacerts,
    rejectUnauthorized: false,
  });
  const root = readCertsOnly(Buffer.from(answer.body, 'base64'))?.find(
    (candidate) => candidate.fingerprint256.replaceAll(':', '').toLowerCase() === parsed.rootSha256,
  );
  if (root === undefined) throw new Error('none of the CA certificates of the enroll server is the one the token pins');
  return { enrollUrl: parsed.enrollUrl, rootPem: root.toString() };
}

export function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

export function exportKeyPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }) as string;
}

export class EstClient {
  readonly #place: EstServer;
  readonly #agent: Agent;
  /** Of the last certificates: their issuer, and what is between leaf and root. */
  #chain: { readonly issuer: X509Certificate; readonly issuersPem: string } | undefined;
  #fetching: Promise<readonly X509Certificate[]> | undefined;

  constructor(place: EstServer, connections: number) {
    this.#place = place;
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections, ca: place.rootPem });
  }

  /** The first certificate of a device: token as password, its name as user. */
  async enroll(id: string, token: string, key: KeyObject): Promise<EstResponse> {
    const authorization = `Basic ${Buffer.from(`${id}:${token}`).toString('base64')}`;
    const body = writeCsr(key, { commonName: id }).toString('base64');
    const answer = await exchange(this.#place.enrollUrl, {
      method: 'POST',
      path: EST_PATHS.simpleenroll,
      headers: { authorization, 'content-type': EST_MEDIA_TYPES.request },
      body,
      agent: this.#agent,
    });
    return this.#certificateIn(answer, exportKeyPem(key));
  }

  /** The next certificate, with a new key, authenticated by the current one (RFC 7030, section 4.2.2). */
  async renew(current: TlsIdentity, key: KeyObject): Promise<EstResponse> {
    const leaf = new X509Certificate(current.certificatePem);
    const uri = /^URI:(\S+)$/.exec(leaf.subjectAltName ?? '')?.[1];
    const commonName = /^CN=(.+)$/m.exec(leaf.subject)?.[1];
    const body = writeCsr(key, { ...(commonName !== undefined && { commonName }), ...(uri !== undefined && { uri }) });
    const answer = await exchange(this.#place.enrollUrl, {
      method: 'POST',
      path: EST_PATHS.simplereenroll,
      headers: { 'content-type': EST_MEDIA_TYPES.request },
      body: body.toString('base64'),
      agent: false,
      ca: this.#place.rootPem,
      cert: current.certificatePem,
      key: current.keyPem,
    });
    return this.#certificateIn(answer, exportKeyPem(key));
  }

  close(): void {
    this.#agent.destroy();
  }

  async #certificateIn({ status, headers, body }: EstExchangeAnswer, keyPem: string): Promise<EstResponse> {
    if (status !== 200) {
      const retryAfter = parseDecimal(headers['retry-after'], 0, RETRY_AFTER_MAX_S);
      return { refused: problemCode(body) ?? `http_${status}`, ...(retryAfter !== undefined && { retryAfter }) };
    }
    const key = createPrivateKey(keyPem);
    const leaf = readCertsOnly(Buffer.from(body, 'base64'))?.find((one) => one.checkPrivateKey(key));
    const issuersPem = leaf && (await this.#issuersOf(leaf));
    if (leaf === undefined || issuersPem === undefined) return { refused: 'answer_invalid' };
    const mqttUrl = headers[MQTT_URL_HEADER];
    return {
      identity: { keyPem, certificatePem: leaf.toString(), issuersPem },
      mqttUrl: typeof mqttUrl === 'string' ? mqttUrl : undefined,
    };
  }

  /** An EST response holds the leaf alone; the CAs above it come from `cacerts`, once for each issuer. Undefined without a path to the root. */
  async #issuersOf(leaf: X509Certificate): Promise<string | undefined> {
    if (this.#chain !== undefined && leaf.checkIssued(this.#chain.issuer)) return this.#chain.issuersPem;
    this.#fetching ??= this.#caCertificates().finally(() => {
      this.#fetching = undefined;
    });
    const rules = { at: undefined, lists: [], extensions: 'ignore' } as const;
    const path = findPath(leaf, await this.#fetching, [new X509Certificate(this.#place.rootPem)], rules);
    if (typeof path === 'string') return undefined;
    const [issuer] = path.slice(1);
    if (issuer === undefined) return undefined;
    const issuersPem = path.slice(1, -1).map(String).join('');
    this.#chain = { issuer, issuersPem };
    return issuersPem;
  }

  async #caCertificates(): Promise<readonly X509Certificate[]> {
    const order = { method: 'GET', path: EST_PATHS.cacerts, agent: this.#agent };
    const { status, body } = await exchange(this.#place.enrollUrl, order);
    return (status === 200 ? readCertsOnly(Buffer.from(body, 'base64')) : undefined) ?? [];
  }
}

interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly agent?: Agent | false;
  readonly rejectUnauthorized?: boolean;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

interface EstExchangeAnswer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: string;
}

function exchange(url: string, { body, ...order }: Exchange): Promise<EstExchangeAnswer> {
  const { port } = new URL(url);
  const host = urlHost(url);
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host,
        port: parseDecimal(port, 0, 65_535) ?? 443,
        ...addressOptions(host),
        ...order,
        headers: { ...order.headers, ...(body !== undefined && { 'content-length': String(body.length) }) },
      },
      (incoming) => {
        let text = '';
        incoming.setEncoding('latin1');
        incoming.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > ANSWER_MAX) incoming.destroy(new Error('expected a shorter answer'));
        });
        incoming.once('error', reject);
        incoming.once('end', () =>
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: text }),
        );
      },
    );
    outgoing.setTimeout(TIMEOUT_MS, () => outgoing.destroy(new Error('no answer in time')));
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}

/** Longer than any run waits. */
const RETRY_AFTER_MAX_S = 86_400;

function problemCode(body: string): string | undefined {
  try {
    const { code } = JSON.parse(body) as { readonly code?: unknown };
    return typeof code === 'string' && /^[a-z_]{1,40}$/.test(code) ? code : undefined;
  } catch {
    return undefined;
  }
}
