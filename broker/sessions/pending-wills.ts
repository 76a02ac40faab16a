/**
 * Publishes the wills of connections that ended with an earlier run of the server (MQTT 3.1.1, section 3.1.2.5: a server may
 * defer them to its restart). When a client reconnects, its will is published before its new session begins, so
 * that no old "offline" follows a new "online". All others are published after a grace period, a limited number at a time.
 */

import type { Logger } from 'pino';
import type { Accepted, TelemetryMessage } from '../../telemetry/index.ts';
import type { Rights, Subject } from '../access/acl.ts';
import type { AedesPersistence, PendingWill } from '../routing/aedes-persistence.ts';
import type { DeliveredKeys } from '../routing/delivered-keys.ts';
import { ownTelemetry } from './session.ts';

export interface PendingWillsOptions {
  readonly persistence: AedesPersistence;
  /** How long clients may take to reconnect, in ms. */
  readonly gracePeriod: number;
  readonly now: () => number;
  readonly log: Logger;
  readonly deliveredKeys: DeliveredKeys;
  rightsOf(subject: Subject): Promise<Rights>;
  /** Whether a device may store a message of a stream. */
  admits(subject: Subject, stream: string): boolean;
  accept(message: TelemetryMessage): Promise<Accepted>;
  publish(message: { readonly topic: string; readonly payload: Buffer; readonly qos: 0 | 1 }): Promise<void>;
}

const PUBLISHED_AT_ONCE = 50;
const PUBLISH_INTERVAL_MS = 100;

export class PendingWills {
  readonly #options: PendingWillsOptions;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PendingWillsOptions) {
    this.#options = options;
    if (options.persistence.pendingWills().length > 0) this.#publishAfter(options.gracePeriod);
  }

  /** Publishes the pending will of a client, if there is one. Takes it synchronously; failures are logged. */
  publish(clientId: string): Promise<void> {
    const { persistence, log } = this.#options;
    const will = persistence.pendingWill(clientId);
    if (will === undefined) return Promise.resolve();
    persistence.delWill({ id: clientId }).catch(() => {}); // The removal is written later.
    return this.#publish(will).catch((error: unknown) => {
      log.error({ err: error, clientId }, 'will of an earlier run could not be published');
    });
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #publishAfter(ms: number): void {
    this.#timer = setTimeout(() => {
      const wills = this.#options.persistence.pendingWills();
      for (const { clientId } of wills.slice(0, PUBLISHED_AT_ONCE)) void this.publish(clientId);
      if (wills.length > PUBLISHED_AT_ONCE) this.#publishAfter(PUBLISH_INTERVAL_MS);
    }, ms).unref();
  }

  /** Applies the rights at the time of publication. */
  async #publish(will: PendingWill): Promise<void> {
    const { persistence, now, admits, accept, deliveredKeys, publish, rightsOf } = this.#options;
    const { identity } = will.subject;
    const { qos = 0, retain = false } = will.packet;
    const own = ownTelemetry(identity, will.packet.topic);
    const topic = own?.topic ?? will.packet.topic;
    const payload = Buffer.from(will.packet.payload);
    const rights = await rightsOf(will.subject);
    if (!rights.mayPublish(topic).allowed || (retain && !rights.mayRetain(topic).allowed)) return;
    if (identity.kind === 'device' && own !== undefined) {
      const { stream, key } = own;
      if (!admits(will.subject, stream)) return;
      const at = { device: identity.id, stream, receivedAt: now(), qos: qos as 0 | 1 | 2, payload };
      await accept(key === undefined ? at : { ...at, key });
      if (key !== undefined) deliveredKeys.add(deliveredKeys.keyOf(identity.id, key));
    }
    if (retain) await persistence.retainPendingWill({ ...will, packet: { ...will.packet, topic } });
    await publish({ topic, payload, qos: qos > 0 ? 1 : 0 });
  }
}
