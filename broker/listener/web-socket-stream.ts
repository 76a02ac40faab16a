/**
 * A WebSocket connection as a stream of bytes (MQTT 6.0: packets may be split over messages, and share one). Only binary messages
 * carry MQTT [MQTT-6.0.0-1]; any other ends the connection. Reading pauses the socket, so TCP flow control reaches the client.
 */

import { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { TokenBucket } from '../../limits/index.ts';

/** RFC 6455, section 7.4.1. */
const NORMAL = 1000;
const UNSUPPORTED_DATA = 1003;
const POLICY_VIOLATION = 1008;

/** Pings, pongs and empty messages carry no MQTT, so no limit of the broker sees them. */
const EMPTY_FRAMES_PER_SECOND = 10;
const EMPTY_FRAMES_BURST = 50;
/** Unsent bytes above which a ping gets no pong. */
const PONG_BACKLOG_MAX = 16_384;

export class WebSocketStream extends Duplex {
  readonly #webSocket: WebSocket;
  readonly #emptyFrames: TokenBucket;

  constructor(webSocket: WebSocket, now: () => number) {
    super({ allowHalfOpen: false });
    this.#webSocket = webSocket;
    this.#emptyFrames = new TokenBucket({ perSecond: EMPTY_FRAMES_PER_SECOND, burst: EMPTY_FRAMES_BURST, now: now() });
    const emptyFrame = () => {
      if (this.#emptyFrames.take(now()) > 0) this.#violated(POLICY_VIOLATION);
    };
    webSocket.on('message', (data: Buffer, isBinary: boolean) => {
      if (!isBinary) this.#violated(UNSUPPORTED_DATA);
      else if (data.length === 0) emptyFrame();
      else if (!this.push(data)) webSocket.pause();
    });
    webSocket.on('ping', (data: Buffer) => {
      emptyFrame();
      if (webSocket.readyState === webSocket.OPEN && webSocket.bufferedAmount < PONG_BACKLOG_MAX) webSocket.pong(data);
    });
    webSocket.on('pong', emptyFrame);
    webSocket.on('error', (error) => this.destroy(error)); // such as a message that is too large
    webSocket.once('close', () => {
      if (!this.readableEnded) this.push(null);
    });
  }

  override _read(): void {
    this.#webSocket.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#webSocket.send(chunk, { binary: true }, done);
  }

  override _final(done: () => void): void {
    const webSocket = this.#webSocket;
    if (webSocket.readyState === webSocket.CLOSED) {
      done();
      return;
    }
    webSocket.once('close', () => done());
    webSocket.close(NORMAL);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#webSocket.terminate();
    done(error);
  }

  destroySoon(): void {
    if (this.writableFinished) this.destroy();
    else this.end(() => this.destroy());
  }

  #violated(code: number): void {
    this.#webSocket.close(code);
    this.destroy();
  }
}
