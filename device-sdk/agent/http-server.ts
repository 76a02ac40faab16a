/**
 * HTTP over a unix socket for applications on this machine, so that curl and every language's library can use
 * it. The mode of the socket decides who may connect; every client acts as this device.
 */

import { chmodSync, lstatSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createConnection } from 'node:net';
import { dirname } from 'node:path';
import { jsonText } from '@rollcall/output';
import type { Command } from '../commands.ts';
import { asDeviceError, DeviceError } from '../device-error.ts';
import { PAYLOAD_MAX } from '../payload.ts';
import type { Schedule } from '../schedule.ts';
import type { AgentDevice } from './agent-device.ts';
import type { CommandQueue } from './command-queue.ts';
import { openPrivateDirectory } from './private-directory.ts';
import { executePublish, publishRequest } from './publish-request.ts';

export interface HttpServerOptions {
  readonly socket: string;
  readonly socketMode: number;
  /** Whether this is the owner's socket, the only one at which the identity is changed. */
  readonly isControl: boolean;
  readonly device: AgentDevice;
  readonly commandQueue: CommandQueue;
  readonly schedule: Schedule;
}

export interface LocalServer {
  close(): Promise<void>;
}

/** Of all applications: each may hold a payload, and an answer that it waits for. */
const CONNECTIONS_MAX = 256;
const TOKEN_MAX = 4_096;
const PATHS = '/v1/status, /v1/telemetry/STREAM, /v1/events/TYPE, /v1/commands or /v1/responses/ID';
const CONTROL_PATHS = '/v1/status, /v1/renew or /v1/enroll';
/** Bytes of commands that one application has not read yet, before it gets no more of them. */
const UNREAD_MAX = 1024 * 1024;

/** Rejects with the system's error, or when another agent answers at this socket. */
export async function startHttpServer(options: HttpServerOptions): Promise<LocalServer> {
  if (options.isControl) openPrivateDirectory(dirname(options.socket));
  else mkdirSync(dirname(options.socket), { recursive: true, mode: 0o755 });
  await removeStaleSocket(options.socket);
  const server = createServer({ requestTimeout: 30_000, headersTimeout: 10_000 }, (request, response) => {
    void answer(request, response, options);
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listening(server, options.socket);
  chmodSync(options.socket, options.socketMode);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, options: HttpServerOptions): Promise<void> {
  try {
    await route(request, response, options);
  } catch (thrown) {
    const error = asDeviceError(thrown, 'internal');
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const body = { code: error.code, detail: error.message };
    const later = error.retryAfter === undefined ? {} : { 'retry-after': String(error.retryAfter) };
    // What came in but was not read would be taken for the next request.
    sendJson(response, statusOf(error), body, { ...later, connection: 'close' });
  }
}

async function route(request: IncomingMessage, response: ServerResponse, options: HttpServerOptions): Promise<void> {
  const { device, commandQueue, schedule, isControl } = options;
  const url = new URL(request.url ?? '/', 'http://device');
  const [, subject, name = ''] = /^\/v1\/([a-z]+)(?:\/([^/]+))?$/.exec(url.pathname) ?? [];
  const asked = `${request.method} ${subject}`;
  const isNamed = name !== '';
  if (asked === 'GET status' && !isNamed) {
    sendJson(response, 200, await device.status());
  } else if (isControl) {
    await control(asked, isNamed, url.searchParams, request, response, device);
  } else if (asked === 'POST renew' || asked === 'POST enroll') {
    throw new DeviceError('owner_required', { status: 403 });
  } else if (asked === 'GET commands' && !isNamed) {
    sendCommands(request, response, commandQueue);
  } else if ((asked === 'POST telemetry' || asked === 'POST events') && isNamed) {
    const asking = publishRequest(subject as 'telemetry' | 'events', name, url.searchParams);
    const payload = await bodyOf(request, PAYLOAD_MAX);
    const { status, body } = await executePublish(asking, payload, { device, schedule, gone: leaving(response) });
    sendJson(response, status, body);
  } else if (asked === 'POST responses' && isNamed) {
    const payload = await bodyOf(request, PAYLOAD_MAX);
    if (!commandQueue.answer(name, payload)) {
      throw new DeviceError('not_found', { reason: 'no command of this id waits for an answer', status: 404 });
    }
    sendJson(response, 202, { state: 'answered' });
  } else {
    throw new DeviceError('not_found', { reason: `expected ${PATHS}`, status: 404 });
  }
}

/** What changes the identity. */
async function control(
  asked: string,
  isNamed: boolean,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
  device: AgentDevice,
): Promise<void> {
  if (asked === 'POST renew' && !isNamed) {
    await device.renew();
  } else if (asked === 'POST enroll' && !isNamed) {
    const token = (await bodyOf(request, TOKEN_MAX)).toString('utf8').trim();
    await device.enroll(token, { replaceFleet: query.get('replace-fleet') === '1' });
  } else {
    throw new DeviceError('not_found', { reason: `expected ${CONTROL_PATHS}`, status: 404 });
  }
  sendJson(response, 200, await device.status());
}

/** One command a line, for as long as the application stays. */
function sendCommands(request: IncomingMessage, response: ServerResponse, commandQueue: CommandQueue): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  response.flushHeaders();
  const leave = commandQueue.join((command) => {
    if (response.writableLength > UNREAD_MAX) return false;
    response.write(`${jsonText(commandView(command))}\n`);
    return true;
  });
  request.socket.setTimeout(0);
  response.once('close', leave);
}

/** The payload as JSON, or as text, or as bytes: whichever keeps it whole. */
function commandView({ name, requestId, payload, contentType, userProperties }: Command): object {
  const head = { name, requestId, contentType, userProperties }; // what is undefined is left out of JSON
  const text = payload.toString('utf8');
  if (!Buffer.from(text, 'utf8').equals(payload)) return { ...head, base64: payload.toString('base64') };
  try {
    return { ...head, payload: JSON.parse(text) as unknown };
  } catch {
    return { ...head, text };
  }
}

/** Aborted when the application leaves before it has its answer. */
function leaving(response: ServerResponse): AbortSignal {
  const left = new AbortController();
  response.once('close', () => left.abort());
  return left.signal;
}

async function bodyOf(request: IncomingMessage, most: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += (chunk as Buffer).length;
    if (length > most) {
      throw new DeviceError('body_too_large', { reason: `expected at most ${most} bytes`, status: 413 });
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function sendJson(response: ServerResponse, status: number, value: object, headers: object = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers });
  response.end(`${jsonText(value)}\n`);
}

const STATUSES: Readonly<Record<string, number>> = {
  request_invalid: 400,
  body_too_large: 413,
  outbox_full: 507,
  queue_unwritable: 507,
  message_dropped: 409,
  message_refused: 422,
  device_revoked: 403,
  fleet_differs: 409,
  token_malformed: 400,
  token_required: 400,
};

/** A server's own status, ours where it has one, and 503 for everything that may be better later. */
function statusOf({ code, status }: DeviceError): number {
  return status ?? STATUSES[code] ?? 503;
}

/** What a crash left behind goes; another agent stays, and so does whatever isn't a socket. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new DeviceError('unavailable', { reason: `expected a socket or nothing at ${path}, found something else` });
  }
  if (await isLive(path)) throw new DeviceError('unavailable', { reason: `another agent answers at ${path}` });
  rmSync(path, { force: true });
}

/** Only a refused connection proves that nobody listens; any other failure may come from an agent that is busy. */
function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code !== 'ECONNREFUSED'));
  });
}

function listening(server: Server, socket: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The socket file is made inside listen(), before it returns: nobody else can open it before its mode is set.
    const before = process.umask(0o177);
    try {
      server.listen(socket, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}
