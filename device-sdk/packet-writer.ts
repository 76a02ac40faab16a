import type { Socket } from 'node:net';

/**
 * Writes packets to a socket. What is written in one turn leaves in one piece: a TLS record for each small message costs more than the
 * message.
 */
export class PacketWriter {
  readonly #socket: Socket;
  #packets: Buffer[] = [];
  #written: (() => void)[] = [];
  #hasWritten = true;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** `written` is called when the packet was handed to the system, unless the socket fails before. */
  write(packet: Buffer, written?: () => void): void {
    this.#hasWritten = true;
    if (written !== undefined) this.#written.push(written);
    this.#packets.push(packet);
    if (this.#packets.length === 1) process.nextTick(() => this.flush());
  }

  /** Whether something was written since the last call. */
  takeHasWritten(): boolean {
    const hasWritten = this.#hasWritten;
    this.#hasWritten = false;
    return hasWritten;
  }

  flush(): void {
    const packets = this.#packets;
    if (packets.length === 0 || this.#socket.destroyed) return;
    const written = this.#written;
    this.#packets = [];
    this.#written = [];
    const bytes = packets.length === 1 ? (packets[0] as Buffer) : Buffer.concat(packets);
    if (written.length === 0) this.#socket.write(bytes);
    else {
      this.#socket.write(bytes, (error) => {
        if (error == null) for (const done of written) done();
      });
    }
  }
}
