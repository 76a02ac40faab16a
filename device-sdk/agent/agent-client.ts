/** Asks a running agent over its socket, as the commands `status`, `publish`, `renew` and `enroll` do. */

import { request } from 'node:http';
import { isProblemCode } from '@rollcall/protocol';
import { DEVICE_ERRORS, DeviceError, type DeviceErrorCode } from '../device-error.ts';
import type { AgentStatus } from './agent-device.ts';
import type { PublishResponse } from './publish-request.ts';

export interface AgentClient {
  status(): Promise<AgentStatus>;
  /** Resolves when the message is on disk, or, with `wait` (seconds), when the broker has stored it or the time is over. */
  publish(
    stream: string,
    payload: Buffer,
    options: { readonly wait: number | undefined },
  ): Promise<PublishResponse['body']>;
  renew(): Promise<AgentStatus>;
  enroll(token: string, options: { readonly replaceFleet: boolean }): Promise<AgentStatus>;
}

const ANSWER_MAX = 64 * 1024;
const SILENCE_MS = 120_000;

/** Every method rejects with a DeviceError: the agent's own, or `agent_absent` when none answers at the socket. */
export function agentClient(socket: string): AgentClient {
  const ask = <T>(method: 'GET' | 'POST', path: string, body?: Buffer, silence = SILENCE_MS) =>
    new Promise<T>((resolve, reject) => {
      const asking = request({ socketPath: socket, host: 'device', method, path, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > ANSWER_MAX) asking.destroy(new Error('the answer is too long'));
          chunks.push(chunk);
        });
        response.once('error', reject);
        response.once('end', () => {
          const value = parse(Buffer.concat(chunks));
          if ((response.statusCode ?? 500) < 300 && value !== undefined) resolve(value as T);
          else reject(told(value, response.statusCode));
        });
      });
      asking.setTimeout(silence, () => asking.destroy(new Error(`no answer in ${silence / 1000} s`)));
      asking.once('error', (error: NodeJS.ErrnoException) =>
        reject(
          new DeviceError('agent_absent', {
            reason: whyNoAnswer(socket, error),
            cause: error,
          }),
        ),
      );
      asking.end(body);
    });
  return {
    status: () => ask('GET', '/v1/status'),
    publish: (stream, payload, { wait }) => {
      const path = `/v1/telemetry/${encodeURIComponent(stream)}`;
      if (wait === undefined) return ask('POST', path, payload);
      return ask('POST', `${path}?wait=1&timeout=${wait}`, payload, SILENCE_MS + wait * 1_000);
    },
    renew: () => ask('POST', '/v1/renew'),
    enroll: (token, { replaceFleet }) =>
      ask('POST', replaceFleet ? '/v1/enroll?replace-fleet=1' : '/v1/enroll', Buffer.from(token, 'utf8')),
  };
}

function whyNoAnswer(socket: string, { code, message }: NodeJS.ErrnoException): string {
  if (code === 'EACCES') return `this user may not use ${socket}: be root, or see socket-mode in the settings`;
  return `expected a running agent at ${socket}, found ${code ?? message}`;
}

function parse(bytes: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    return JSON.parse(bytes.toString('utf8')) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
}

function told(value: Readonly<Record<string, unknown>> | undefined, status = 500): DeviceError {
  const { code, detail } = value ?? {};
  const known = typeof code === 'string' && (isProblemCode(code) || Object.hasOwn(DEVICE_ERRORS, code));
  const sentence = known ? sentenceless(String(detail)) : undefined;
  return new DeviceError(known ? (code as DeviceErrorCode) : 'internal', {
    status,
    ...(sentence !== undefined && { reason: sentence }),
  });
}

/** The agent's message begins with the sentence of its code, which the error made here says as well. */
function sentenceless(detail: string): string | undefined {
  const colon = detail.indexOf(': ');
  return colon < 0 ? undefined : detail.slice(colon + 2);
}
