/**
 * A target that is an HTTP server: batches of CloudEvents 1.0 (HTTP binding, section 3.3), signed as Standard Webhooks say
 * (`webhook-id`, `webhook-timestamp`, `webhook-signature`). A digest has a summary before its events. Follows no redirect and reads responses up to a limit.
 */

import { createHmac } from 'node:crypto';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { addressOptions, parseDecimal } from '@rollcall/protocol';
import type { EventDigest } from './event-digest.ts';
import { CLOUDEVENTS_BATCH, toCloudEvent } from './message-json.ts';
import type { SinkMessage } from './target.ts';
import {
  deliverHalving,
  type RefusedMessage,
  type Secret,
  type SinkSource,
  type Target,
  TargetDown,
} from './target.ts';
import { type TargetTls, type TlsMaterial, targetError } from './tls.ts';

export interface WebhookTargetOptions {
  /** `https:`, or `http:` to this machine. */
  readonly url: string;
  readonly source: SinkSource;
  readonly trustDomain: string;
  /** Name of the sink: part of the id of a delivery. */
  readonly name: string;
  /** Key of the signature: `whsec_` and base64, or any text of at least 24 characters. */
  readonly secret: Secret;
  /** Sent as `authorization: Bearer`. */
  readonly bearer?: Secret | undefined;
  /** `none` goes with `http:`. */
  readonly tls: TargetTls;
  /** For a whole delivery, in ms. */
  readonly timeout: number;
  readonly now: () => number;
}

/** A larger response is an error. */
const RESPONSE_BYTES = 65_536;

/** Characters of a response body that are logged. */
const LOGGED_CHARACTERS = 200;

/** Status codes that reject the batch. After every other code that isn't 2xx the same batch is sent again. */
const REFUSALS: ReadonlySet<number> = new Set([400, 413, 422]);

export class WebhookTarget implements Target {
  readonly #options: WebhookTargetOptions;
  #agent: HttpAgent | HttpsAgent | undefined;
  #material: TlsMaterial | undefined;

  constructor(options: WebhookTargetOptions) {
    if ((options.tls === 'none') !== options.url.startsWith('http:')) throw new RangeError('expected TLS with https:');
    this.#options = options;
  }

  async deliver(
    messages: readonly SinkMessage[],
    signal: AbortSignal,
    digest?: EventDigest,
  ): Promise<readonly RefusedMessage[]> {
    if (digest === undefined || digest.total === 1) return deliverHalving(messages, (part) => this.#send(part, signal));
    const refusal = await this.#send(messages, signal, digest); // a part alone would not be what the summary counts
    return refusal === undefined ? [] : messages.map((message) => ({ message, reason: refusal }));
  }

  async close(): Promise<void> {
    this.#agent?.destroy();
    this.#agent = undefined;
  }

  /** The connection stays open between deliveries while its TLS files are unchanged. */
  #connections(): HttpAgent | HttpsAgent {
    const { tls } = this.#options;
    const material = tls === 'none' ? undefined : tls();
    if (this.#agent !== undefined && material === this.#material) return this.#agent;
    this.#agent?.destroy();
    this.#material = material;
    const agentOptions = { keepAlive: true, maxSockets: 1, maxFreeSockets: 1 };
    this.#agent =
      material === undefined
        ? new HttpAgent(agentOptions)
        : new HttpsAgent({ ...agentOptions, rejectUnauthorized: true, ...material });
    return this.#agent;
  }

  /** Undefined when it was taken; the reason when it was refused. */
  async #send(
    messages: readonly SinkMessage[],
    signal: AbortSignal,
    digest?: EventDigest,
  ): Promise<string | undefined> {
    const { source, trustDomain, name } = this.#options;
    const id = `${name}-${messages[0]?.position}-${messages.at(-1)?.position}`;
    const events = messages.map((message) =>
      source === 'events' ? Buffer.from(message.payload).toString() : toCloudEvent(message, trustDomain),
    );
    if (digest !== undefined) events.unshift(summaryOf(digest, { id, source: `//${trustDomain}/sinks/${name}` }));
    const { status, words, retryAfter } = await this.#post(id, Buffer.from(`[${events.join(',')}]`), signal);
    if (status >= 200 && status < 300) return undefined;
    const answer = `expected an answer of 2xx, found ${status}${words === '' ? '' : `: ${words}`}`;
    if (REFUSALS.has(status)) return answer;
    throw new TargetDown(answer, { retryAfter });
  }

  #post(id: string, body: Buffer, signal: AbortSignal): Promise<WebhookResponse> {
    const { url, bearer, timeout, now } = this.#options;
    const timestamp = Math.floor(now() / 1000);
    const headers = {
      'content-type': `${CLOUDEVENTS_BATCH}; charset=utf-8`,
      'content-length': body.length,
      'user-agent': 'rollcall',
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v1,${signatureOf(this.#options.secret(), id, timestamp, body)}`,
      ...(bearer !== undefined && { authorization: `Bearer ${bearer()}` }),
    };
    const send = url.startsWith('https:') ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
      const failed = (error: Error) => {
        const isLate = deadline.aborted && !signal.aborted && !(error instanceof TargetDown);
        reject(isLate ? new TargetDown(`expected an answer in ${timeout} ms`, { cause: error }) : targetError(error));
      };
      const request = send(
        url,
        {
          method: 'POST',
          agent: this.#connections(),
          headers,
          signal: deadline,
          ...addressOptions(new URL(url).hostname),
        },
        (response) => {
          readResponse(response, now).then(resolve, failed);
        },
      );
      // Without a listener Node closes the connection and emits neither a response nor an error.
      request.once('upgrade', (_, socket) => {
        socket.destroy();
        failed(new TargetDown('expected an answer of 2xx, found 101'));
      });
      request.once('error', failed);
      request.end(body);
    });
  }
}

/** A CloudEvent that counts the events of an interval. */
function summaryOf(
  { messages, counts, total, firstAt, lastAt }: EventDigest,
  { id, source }: { readonly id: string; readonly source: string },
): string {
  const [from, to] = [firstAt, lastAt].map((at) => new Date(at).toISOString());
  const types = Object.fromEntries([...counts].sort(([, one], [, other]) => other - one));
  const data = { from, to, events: total, included: messages.length, types };
  const head = { specversion: '1.0', id, type: 'fleet.sink.summary', source, time: to };
  return JSON.stringify({ ...head, datacontenttype: 'application/json', data });
}

interface WebhookResponse {
  readonly status: number;
  readonly words: string;
  readonly retryAfter: number | undefined;
}

/** Standard Webhooks, "Signature scheme": HMAC-SHA256 over id, timestamp and body, base64. */
function signatureOf(secret: string, id: string, timestamp: number, body: Buffer): string {
  const key = secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret);
  return createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64');
}

async function readResponse(response: IncomingMessage, now: () => number): Promise<WebhookResponse> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += (chunk as Buffer).length;
    if (size > RESPONSE_BYTES) {
      response.destroy();
      throw new TargetDown(`expected an answer of at most ${RESPONSE_BYTES} bytes, found more`);
    }
    chunks.push(chunk as Buffer);
  }
  const words = Buffer.concat(chunks)
    .toString('utf8')
    .slice(0, LOGGED_CHARACTERS)
    .replace(/[\p{Cc}\u2028\u2029]/gu, ' ')
    .trim();
  const retryAfter = response.headers['retry-after'];
  const seconds = parseDecimal(retryAfter, 0);
  // RFC 9110, section 10.2.3: seconds, or a date.
  const ms = seconds === undefined ? Date.parse(retryAfter ?? '') - now() : seconds * 1000;
  return { status: response.statusCode ?? 0, words, retryAfter: ms > 0 ? ms : undefined };
}
