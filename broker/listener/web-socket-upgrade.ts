/**
 * The HTTP request that turns a TLS connection into a WebSocket connection (RFC 6455) for MQTT (MQTT 6): one request for each
 * connection, for one path and the subprotocol `mqtt` [MQTT-6.0.0-3]. A browser sends its credentials wherever a page asks it to, so the
 * page's origin has to be this server's own or a listed one. The client certificate is checked after this, as for any connection.
 */

import { createServer, type IncomingMessage, type Server, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ByteStream } from '../mqtt/byte-stream.ts';
import type { ConnectionSlot } from './connection-slot.ts';
import { WebSocketStream } from './web-socket-stream.ts';

export interface WebSocketUpgradeOptions {
  readonly path: string;
  /** Origins of pages that may connect, besides the server's own: `https://console.example.com`. */
  readonly origins: readonly string[];
  readonly limits: Pick<BrokerLimits, 'packet' | 'connectPacket'>;
  readonly upgraded: (socket: TLSSocket, slot: ConnectionSlot, stream: ByteStream) => void;
  /** The connection was answered and is closed. */
  readonly refused: (slot: ConnectionSlot, detail: UpgradeRefusal) => void;
}

const REFUSALS = {
  'not HTTP': 400,
  'no upgrade': 426,
  'another path': 404,
  'another origin': 403,
  'without the subprotocol mqtt': 400,
  'not a handshake of WebSocket version 13': 400,
} as const;
export type UpgradeRefusal = keyof typeof REFUSALS;

const SUBPROTOCOL = 'mqtt';
/** A browser's headers need some hundred bytes. */
const HEADERS_MAX = 8_192;
/** A message of the largest packet comes in some hundred segments; each costs memory until the message is whole. */
const CHUNKS_MAX = 1_024;
const FRAGMENTS_MAX = 64;

export class WebSocketUpgrade {
  readonly #options: WebSocketUpgradeOptions;
  readonly #http: Server;
  /** A client without a certificate may buffer no more than a CONNECT. */
  readonly #strangers: WebSocketServer;
  readonly #clients: WebSocketServer;
  readonly #slots = new WeakMap<Duplex, ConnectionSlot>();

  constructor(options: WebSocketUpgradeOptions) {
    this.#options = options;
    const { packet, connectPacket } = options.limits;
    this.#clients = createWebSocketServer(packet);
    this.#strangers = createWebSocketServer(connectPacket);
    for (const server of [this.#clients, this.#strangers]) {
      server.on('wsClientError', (_error, socket) => this.#refuse(socket, 'not a handshake of WebSocket version 13'));
    }
    this.#http = createServer({ maxHeaderSize: HEADERS_MAX });
    this.#http.on('request', ({ socket }) => this.#refuse(socket, 'no upgrade'));
    this.#http.on('checkExpectation', ({ socket }) => this.#refuse(socket, 'no upgrade'));
    this.#http.on('clientError', (_error, socket) => this.#refuse(socket, 'not HTTP'));
    this.#http.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** Reads the request of a connection whose TLS handshake is finished. Its slot closes it at the deadline. */
  accept(socket: TLSSocket, slot: ConnectionSlot): void {
    this.#slots.set(socket, slot);
    socket.once('close', () => slot.abandon());
    this.#http.emit('connection', socket);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const slot = this.#slots.get(socket);
    const refusal = this.#refusalOf(request);
    if (slot === undefined || refusal !== undefined) {
      this.#refuse(socket, refusal ?? 'no upgrade');
      return;
    }
    const tls = socket as TLSSocket;
    const server = tls.authorized ? this.#clients : this.#strangers;
    server.handleUpgrade(request, socket, head, (webSocket) => {
      this.#slots.delete(socket);
      this.#options.upgraded(tls, slot, new WebSocketStream(webSocket, () => performance.now()));
    });
  }

  #refusalOf({ url, headers }: IncomingMessage): UpgradeRefusal | undefined {
    const { path, origins } = this.#options;
    if (url?.split('?')[0] !== path) return 'another path';
    const { origin, host } = headers;
    if (origin !== undefined && origin !== `https://${host}` && !origins.includes(origin)) return 'another origin';
    const offered = headers['sec-websocket-protocol']?.split(',').map((name) => name.trim());
    return offered?.includes(SUBPROTOCOL) ? undefined : 'without the subprotocol mqtt';
  }

  /** Answers, closes, and reports once. */
  #refuse(socket: Duplex, refusal: UpgradeRefusal): void {
    const slot = this.#slots.get(socket);
    this.#slots.delete(socket);
    const status = REFUSALS[refusal];
    const upgrade = status === 426 ? 'upgrade: websocket\r\n' : '';
    const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${upgrade}connection: close\r\ncontent-length: 0\r\n\r\n`;
    socket.on('error', () => {});
    if (socket.writable) socket.end(head, () => socket.destroy());
    else socket.destroy();
    if (slot === undefined || slot.isReleased) return;
    slot.release();
    this.#options.refused(slot, refusal);
  }
}

/** Compression would let a client choose how much memory and time a few bytes cost. */
function createWebSocketServer(maxPayload: number): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    autoPong: false,
    maxPayload,
    maxFragments: FRAGMENTS_MAX,
    maxBufferedChunks: CHUNKS_MAX,
    handleProtocols: () => SUBPROTOCOL,
  } as ConstructorParameters<typeof WebSocketServer>[0]);
}
