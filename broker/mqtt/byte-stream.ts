import type { Duplex } from 'node:stream';

/** The bytes of one client in order: its TLS socket, or the binary messages of its WebSocket connection. */
export type ByteStream = Duplex & {
  /** Closes when everything that was written is sent. */
  destroySoon(): void;
};
