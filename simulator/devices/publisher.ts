/** The messages of one stream of one device: payloads, due times, and which were acknowledged. It sends nothing. */

import type { PacketProperties } from '@rollcall/device-sdk/mqtt-codec';
import { type Fields, makeSource, Replay, type Source } from '../scenario/models.ts';
import { SequenceSet } from './sequence-set.ts';
import type { StreamSettings } from './shard-context.ts';

export interface Message {
  readonly publisher: Publisher;
  readonly sequence: number;
  /** When it was meant to be sent, milliseconds since 1970. */
  readonly due: number;
  readonly payload: string;
  /** Of models with one number. */
  readonly value: number | undefined;
}

export interface PublishingDevice {
  readonly id: string;
  /** Position in its group, from 0 up to but not including 1. */
  readonly position: number;
  /** The device's own clock, which may be wrong, at a moment that is right. */
  readonly clock: (now: number) => number;
  readonly random: () => number;
}

export class Publisher {
  readonly stream: string;
  readonly topic: Buffer;
  readonly qos: 0 | 1;
  /** Of each message, with MQTT 5. */
  readonly userProperties: Readonly<Record<string, string>> | undefined;
  readonly properties: PacketProperties | undefined;
  readonly acknowledged = new SequenceSet();
  readonly #settings: StreamSettings;
  readonly #speaker: PublishingDevice;
  readonly #source: Source | undefined;
  readonly #replay: Replay | undefined;
  #began = 0;
  #sequence = 0;
  #due = 0;
  #fields: Fields | undefined;

  constructor(settings: StreamSettings, topic: string, speaker: PublishingDevice) {
    const { stream, recording } = settings;
    this.stream = stream.stream;
    this.topic = Buffer.from(topic);
    this.qos = stream.qos;
    const { userProperties } = stream;
    this.userProperties = userProperties;
    this.properties = userProperties && { userProperties: Object.entries(userProperties) };
    this.#settings = settings;
    this.#speaker = speaker;
    if (stream.model.kind !== 'replay') this.#source = makeSource(stream.model, speaker.random);
    else if (recording !== undefined) this.#replay = new Replay(recording, stream.model, speaker.position);
  }

  /** When its first message is due; undefined when it has none. The period continues over pauses. */
  start(now: number): number | undefined {
    if (this.#began !== 0) return this.#skipTo(now);
    this.#began = now;
    if (this.#replay !== undefined) return this.#nextRow();
    // Devices of one group are spread evenly over their period.
    const { every = 1_000 } = this.#settings.stream;
    this.#due = now + ((this.#speaker.position + this.#speaker.random() * 0.1) % 1) * every;
    return this.#due;
  }

  /** The message that is due at `due`, which is the slot of its timer. */
  next(due: number): Message {
    const fields = this.#fields ?? (this.#source as Source)(due - this.#began);
    this.#sequence += 1;
    const value = typeof fields.value === 'number' ? fields.value : undefined;
    return { publisher: this, sequence: this.#sequence, due, payload: this.#payload(due, fields), value };
  }

  /** When the message after the one that was just made is due; undefined when there is none. */
  nextDue(): number | undefined {
    if (this.#replay !== undefined) return this.#nextRow();
    const { every = 1_000, spacing } = this.#settings.stream;
    this.#due += spacing === 'poisson' ? -Math.log(1 - this.#speaker.random()) * every : every;
    return this.#due;
  }

  #nextRow(): number | undefined {
    const row = this.#replay?.next();
    this.#fields = row?.fields;
    return row === undefined ? undefined : this.#began + row.due;
  }

  /** A device that was off skips the messages that it missed. */
  #skipTo(now: number): number | undefined {
    let due: number | undefined = this.#due;
    if (this.#replay !== undefined) {
      do due = this.#nextRow();
      while (due !== undefined && due < now);
      return due;
    }
    const { every = 1_000 } = this.#settings.stream;
    if (this.#due < now) this.#due += Math.ceil((now - this.#due) / every) * every;
    return this.#due;
  }

  #payload(due: number, fields: Fields): string {
    const time = new Date(this.#speaker.clock(due)).toISOString();
    let rest = '';
    for (const name in fields) {
      const value = fields[name];
      rest += `,"${name}":${typeof value === 'number' ? value : JSON.stringify(value)}`;
    }
    const text = `{"device":"${this.#speaker.id}","seq":${this.#sequence},"time":"${time}","due":${due}${rest}`;
    const { size } = this.#settings.stream;
    if (size === undefined || text.length + 12 > size) return `${text}}`;
    return `${text},"fill":"${'x'.repeat(size - text.length - 10)}"}`;
  }
}
