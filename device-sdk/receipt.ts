import { lengthWithoutKey } from '@rollcall/protocol';
import type { DeviceError } from './device-error.ts';

export interface Receipt {
  /**
   * Names this message for good, also when it is sent again after a reboot, unique within the device: what `publish` was
   * given, or a number, a dot and eight characters of A-Z a-z 0-9 _ -. Telemetry of QoS 1 is sent with it.
   */
  readonly key: string;
  /**
   * Resolves when the broker has acknowledged the message. Rejects with `message_dropped`, `message_damaged`,
   * `not_acknowledged`, or with `closed` when the device is closed before; a message on disk is then sent by the next one.
   */
  readonly acknowledged: Promise<void>;
}

/**
 * The key of a message that its application gave none. The number stands first: the broker keeps keys that count on in next to
 * no room. The epoch is drawn anew each time a queue is opened, so one that was lost or deleted repeats nothing.
 */
export function messageKey(epoch: Buffer, sequence: number): string {
  let text = SPELLED.get(epoch);
  if (text === undefined) {
    text = epoch.toString('base64url');
    SPELLED.set(epoch, text);
  }
  return `${sequence}.${text}`;
}

/** Nearly all messages of a run are of one epoch. */
const SPELLED = new WeakMap<Buffer, string>();

function givenKey(topic: string): string | undefined {
  const end = lengthWithoutKey(topic);
  return end === topic.length ? undefined : topic.slice(end + 1);
}

/** A receipt in the making. The promise is made when it is asked for: most applications never do. */
export class Delivery implements Receipt {
  readonly #epoch: Buffer;
  readonly #sequence: number;
  readonly #topic: string;
  #outcome: 'open' | 'acknowledged' | DeviceError = 'open';
  #promise: Promise<void> | undefined;
  #resolve: (() => void) | undefined;
  #reject: ((error: DeviceError) => void) | undefined;

  /** `topic`: with the key, if the application gave one. */
  constructor(epoch: Buffer, sequence: number, topic: string) {
    this.#epoch = epoch;
    this.#sequence = sequence;
    this.#topic = topic;
  }

  get key(): string {
    return givenKey(this.#topic) ?? messageKey(this.#epoch, this.#sequence);
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
