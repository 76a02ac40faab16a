/** Dispatches broadcasts of the device's group to handlers. A broadcast has no response and may arrive twice. */

import type { UserProperty } from '@rollcall/protocol';
import { asDeviceError } from './device-error.ts';
import { type Parser, parsed } from './device-schema.ts';
import type { DeviceLog } from './device-state.ts';
import type { PacketProperties } from './mqtt-codec/index.ts';

export interface Broadcast<Content = unknown> {
  readonly name: string;
  readonly payload: Buffer;
  /** MIME type; undefined where the sender gave none, or without MQTT 5. */
  readonly contentType?: string | undefined;
  /** In the order of the sender; undefined for none, or without MQTT 5. */
  readonly userProperties?: readonly UserProperty[] | undefined;
  /** The payload as JSON, as the broadcast's parser returned it if there is one; throws a SyntaxError when it isn't JSON. */
  json(): Content;
}

export type BroadcastHandler<Content = never> = (broadcast: Broadcast<Content>) => unknown;

export class BroadcastDispatcher {
  readonly #handlers = new Map<string, BroadcastHandler>();
  readonly #parsers: Readonly<Record<string, Parser>>;
  readonly #log: DeviceLog;

  constructor(parsers: Readonly<Record<string, Parser>>, log: DeviceLog) {
    this.#parsers = parsers;
    this.#log = log;
  }

  /** One handler per name, `*` for the rest. */
  register(name: string, handler: BroadcastHandler): void {
    this.#handlers.set(name, handler);
  }

  async deliver(name: string, payload: Buffer, properties?: PacketProperties): Promise<void> {
    const handler = this.#handlers.get(name) ?? this.#handlers.get('*');
    if (handler === undefined) return;
    let json = () => JSON.parse(payload.toString('utf8')) as never;
    try {
      const parser = this.#parsers[name];
      if (parser !== undefined) {
        const content = parsed(parser, json(), 'the broadcast') as never;
        json = () => content;
      }
      const { contentType, userProperties } = properties ?? {};
      await handler({ name, payload, contentType, userProperties, json });
    } catch (error) {
      this.#log.warn({ broadcast: name, reason: asDeviceError(error, 'internal').message }, 'broadcast failed');
    }
  }
}
