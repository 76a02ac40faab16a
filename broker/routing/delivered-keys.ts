import type { DeviceId } from '@rollcall/protocol';
/** What a publish packet of a message with a key carries through the engine. */
export interface KeyedPacket {
  /** The name of the message. */
  deliveryKey?: string;
  /** It is acknowledged as any other, and given to nobody. */
  isRepeated?: boolean;
  /** It is telemetry: the journal has it, whatever sessions can keep. */
  isInJournal?: boolean;
}

/** Two times so many at most. */
const KEYS_PER_GENERATION = 32_768;

export class DeliveredKeys {
  #newer = new Set<string>();
  #older = new Set<string>();

  /** Names a message for {@link has} and {@link add}. */
  keyOf(device: DeviceId, key: string): string {
    return `${device}/${key}`;
  }

  has(name: string): boolean {
    return this.#newer.has(name) || this.#older.has(name);
  }

  add(name: string): void {
    if (this.#newer.size >= KEYS_PER_GENERATION) {
      this.#older = this.#newer;
      this.#newer = new Set();
    }
    this.#newer.add(name);
  }
}
