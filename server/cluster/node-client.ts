/** One request of a node, or of a host that becomes one, to the EST server of another: JSON over TLS that the fleet's roots vouch for. */

import { request } from 'node:https';
import { isProblemCode, NODE_ANSWER_MAX, Problem } from '@rollcall/protocol';

export interface NodeRequest {
  /** Origin, `https://host:port`. */
  readonly url: string;
  readonly path: string;
  /** PEM of the only roots that are trusted. */
  readonly rootsPem: string;
  /** HTTP Basic, for a host that joins. */
  readonly login?: { readonly user: string; readonly password: string };
  /** PEM, of a node. */
  readonly credential?: { readonly key: string; readonly cert: string };
  readonly body: unknown;
  /** Ends the request. */
  readonly stopped?: AbortSignal;
  /** The longest time until the whole answer is there, ms. */
  readonly within?: number;
}

const WITHIN_MS = 30_000;

/** Throws the Problem of the answer, `server_unreachable`, or `answer_invalid` for one that is none. */
export async function askNode<Answer>(order: NodeRequest): Promise<Answer> {
  const { url, path, rootsPem, login, credential, body, stopped, within = WITHIN_MS } = order;
  const text = JSON.stringify(body);
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(text)),
    connection: 'close',
  };
  if (login !== undefined) {
    headers.authorization = `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`;
  }
  const { status, answer } = await new Promise<{ readonly status: number; readonly answer: string }>(
    (resolve, reject) => {
      const outgoing = request(
        new URL(path, url),
        {
          method: 'POST',
          headers,
          ca: rootsPem,
          ...credential,
          agent: false,
          minVersion: 'TLSv1.2',
        },
        (incoming) => {
          const chunks: Buffer[] = [];
          let size = 0;
          incoming.on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size > NODE_ANSWER_MAX) incoming.destroy(new Error(`an answer of more than ${NODE_ANSWER_MAX} bytes`));
            else chunks.push(chunk);
          });
          incoming.once('error', reject);
          incoming.once('end', () =>
            resolve({ status: incoming.statusCode ?? 0, answer: Buffer.concat(chunks).toString('utf8') }),
          );
        },
      );
      const end = (reason: string) => {
        reject(new Error(reason));
        outgoing.destroy();
      };
      const stop = () => end('the request was ended');
      const late = setTimeout(() => end(`no answer within ${within} ms`), within);
      stopped?.addEventListener('abort', stop);
      outgoing.once('error', reject);
      outgoing.once('close', () => {
        clearTimeout(late);
        stopped?.removeEventListener('abort', stop);
      });
      if (stopped?.aborted === true) stop();
      outgoing.end(text);
    },
  ).catch((error: unknown) => {
    throw new Problem('server_unreachable', { detail: `${url}: ${(error as Error).message}`, cause: error });
  });
  const found = parsed(answer);
  if (status === 200 && found !== undefined) return found as Answer;
  const { code, detail } = (found ?? {}) as { readonly code?: unknown; readonly detail?: unknown };
  if (typeof code === 'string' && isProblemCode(code)) {
    throw new Problem(code, typeof detail === 'string' ? { detail } : {});
  }
  throw new Problem('unavailable', {
    detail: `${url}: expected an answer of a node of the fleet, found status ${status}`,
  });
}

function parsed(text: string): object | undefined {
  try {
    const found: unknown = JSON.parse(text);
    if (typeof found === 'object' && found !== null) return found;
  } catch {}
  return undefined;
}
