/** What an application holds in its hand after `publish`. */

import type { DeviceError } from './device-error.ts';

export interface Receipt {
  /**
   * Names this message for good, also when it is sent again after a reboot: 16 characters of A-Z a-z 0-9 _ -, unique
   * within the device. It isn't on the wire: MQTT 3.1.1 has no place for it beside topic and payload.
   */
  readonly key: string;
  /**
   * Resolves when the broker has acknowledged the message. Rejects with `message_dropped`, `message_damaged`,
   * `not_acknowledged`, or with `closed` when the device is closed before; a message on disk is then sent by the next one.
   */
  readonly acknowledged: Promise<void>;
}

/** A receipt in the making. The promise is made when it is asked for: most applications never do. */
export class Delivery implements Receipt {
  readonly #epoch: Buffer;
  readonly #sequence: number;
  #outcome: 'open' | 'acknowledged' | DeviceError = 'open';
  #promise: Promise<void> | undefined;
  #resolve: (() => void) | undefined;
  #reject: ((error: DeviceError) => void) | undefined;

  constructor(epoch: Buffer, sequence: number) {
    this.#epoch = epoch;
    this.#sequence = sequence;
  }

  get key(): string {
    const sequence = Buffer.alloc(6);
    sequence.writeUIntBE(this.#sequence, 0, 6);
    return Buffer.concat([this.#epoch, sequence]).toString('base64url');
  }

  get acknowledged(): Promise<void> {
    this.#promise ??= new Promise((resolve, reject) => {
      if (this.#outcome === 'acknowledged') resolve();
      else if (this.#outcome !== 'open') reject(this.#outcome);
      this.#resolve = resolve;
      this.#reject = reject;
    });
    return this.#promise;
  }

  acknowledge(): void {
    if (this.#outcome !== 'open') return;
    this.#outcome = 'acknowledged';
    this.#resolve?.();
  }

  fail(error: DeviceError): void {
    if (this.#outcome !== 'open') return;
    this.#outcome = error;
    this.#reject?.(error);
  }
}
