/** Cached decisions about the topics that one session publishes to. Most clients publish to a few; each message may have another key. */

import { type Identity, lengthWithoutKey } from '@rollcall/protocol';
import type { AccessDecision, Rights } from '../access/acl.ts';
import { ownTelemetry } from './own-telemetry.ts';

export interface PublishTopic {
  /** Without the message key. */
  readonly topic: string;
  /** The stream of telemetry of the session's own device; undefined for every other topic. */
  readonly stream: string | undefined;
  /** The rights that `decision` was made by: a changed policy gives a session new rights. */
  rights: Rights | undefined;
  decision: AccessDecision | undefined;
  /** The device has this stream. */
  isStreamAdmitted: boolean;
  /** The generation of the router that the next two are valid for. */
  generation: number;
  hasSubscriber: boolean;
  /** Receivers have to be chosen before the acknowledgement. */
  isRouted: boolean;
}

/** With more topics the cache is less effective. */
const CACHED_TOPICS = 32;

const SLASH = 0x2f;

export class PublishTopics {
  readonly #identity: Identity;
  #last: PublishTopic | undefined;
  /** Created with the second topic. */
  #known: Map<string, PublishTopic> | undefined;

  constructor(identity: Identity) {
    this.#identity = identity;
  }

  /** For a topic name with or without a message key. */
  find(name: string): PublishTopic {
    const last = this.#last;
    if (last !== undefined && (last.topic === name || isKeyedNameOf(last, name))) return last;
    const own = ownTelemetry(this.#identity, name);
    const topic = own?.topic ?? name;
    const found = this.#known?.get(topic) ?? this.#add(topic, own?.stream);
    this.#last = found;
    return found;
  }

  #add(topic: string, stream: string | undefined): PublishTopic {
    const added: PublishTopic = {
      topic,
      stream,
      rights: undefined,
      decision: undefined,
      isStreamAdmitted: false,
      generation: -1,
      hasSubscriber: false,
      isRouted: false,
    };
    if (this.#last !== undefined) {
      this.#known ??= new Map([[this.#last.topic, this.#last]]);
      if (this.#known.size >= CACHED_TOPICS) this.#known.clear();
      this.#known.set(topic, added);
    }
    return added;
  }
}

/** Whether a name is a telemetry topic of the device with a message key appended. Whether the key is valid is decided with the rights. */
function isKeyedNameOf({ topic, stream }: PublishTopic, name: string): boolean {
  return (
    stream !== undefined &&
    name.charCodeAt(topic.length) === SLASH &&
    name.startsWith(topic) &&
    lengthWithoutKey(name) === topic.length
  );
}
