/**
 * `fetch` for requests to an identity provider: over `node:https`, because the fetch of Node accepts no CA of the configuration. Follows
 * no redirect; bounds the time and the length of an answer.
 */

import { request } from 'node:https';
import { addressOptions } from '@rollcall/protocol';

const TIMEOUT_MS = 10_000;
const MAX_ANSWER_BYTES = 1_048_576;

export interface FetchOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** `ca`: PEM, in place of the CAs of the system. Rejects with an Error that names no secret. */
export function httpsFetch(ca: string | undefined) {
  return async (url: string, { method = 'GET', headers = {}, body }: FetchOptions = {}): Promise<Response> => {
    const { hostname } = new URL(url);
    const payload = body === undefined || body === null ? undefined : String(body);
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const outgoing = request(url, {
      method,
      headers: { ...headers, ...(payload !== undefined && { 'content-length': Buffer.byteLength(payload) }) },
      agent: false,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(ca !== undefined && { ca }),
      ...addressOptions(hostname),
    });
    outgoing.once('error', reject);
    outgoing.once('response', async (incoming) => {
      try {
        const chunks: Buffer[] = [];
        let bytes = 0;
        for await (const chunk of incoming) {
          bytes += (chunk as Buffer).length;
          if (bytes > MAX_ANSWER_BYTES) throw new Error(`expected an answer of at most ${MAX_ANSWER_BYTES} bytes`);
          chunks.push(chunk as Buffer);
        }
        const type = incoming.headers['content-type'];
        resolve(
          new Response(Buffer.concat(chunks), {
            status: incoming.statusCode ?? 500,
            headers: type === undefined ? {} : { 'content-type': type },
          }),
        );
      } catch (error) {
        outgoing.destroy();
        reject(error as Error);
      }
    });
    outgoing.end(payload);
    return promise;
  };
}
