/**
 * One PUBLISH that waits for storage and for the acknowledgement of earlier ones. It is then acknowledged, by PUBACK or PUBREC, and
 * delivered to its subscribers.
 */

import { Problem, ReasonCode } from '@rollcall/protocol';
import { NoRoomError, RetainRefusedError } from '../keeper/sessions.ts';
import type { ShareChoice } from '../keeper/shared-subscriptions.ts';
import type { DeliveredKeys } from '../routing/delivered-keys.ts';
import type { Session } from '../sessions/session.ts';
import { PendingAcknowledgement } from './acknowledgement-order.ts';
import { encodeAcknowledgement } from './codec/packet-encoder.ts';
import type { Message } from './message.ts';
import { PacketType, type PublishPacket, type Qos } from './packets.ts';

export interface PublishDelivery {
  readonly deliveredKeys: DeliveredKeys;
  deliver(pending: PendingPublish, message: Message): void;
  /** It is refused after all, because nobody would get it. */
  refused(pending: PendingPublish): void;
}

export class PendingPublish extends PendingAcknowledgement {
  readonly session: Session;
  readonly qos: Qos;
  readonly packetId: number;
  /** Undefined: nobody subscribes. */
  readonly message: Message | undefined;
  reasonCode: ReasonCode = ReasonCode.success;
  /** Receivers of shared subscriptions. */
  shares: readonly ShareChoice[] | undefined;
  /** The entry in `DeliveredKeys` of a message with a key. */
  deliveryKey: string | undefined;
  /** The journal had a message with the same key. */
  isRepeated = false;
  /** The journal stores it as well. */
  isInJournal = false;
  /** It was delivered before: it is acknowledged only. */
  isDelivered = false;
  readonly #delivery: PublishDelivery;
  /** It ends the session, after earlier messages are acknowledged. */
  #failure: Problem | undefined;
  /** What it waits for: `ready`, `stored` or `repeated` once, and each promise of `waitFor`. */
  #waits = 1;

  constructor(
    session: Session,
    { qos, packetId }: Pick<PublishPacket, 'qos' | 'packetId'>,
    message: Message | undefined,
    delivery: PublishDelivery,
  ) {
    super(session.acknowledgements);
    this.session = session;
    this.qos = qos;
    this.packetId = packetId;
    this.message = message;
    this.#delivery = delivery;
  }

  /** Undefined: nothing to wait for. */
  waitFor(durable: Promise<void> | undefined): void {
    if (durable === undefined) return;
    this.#waits += 1;
    durable.then(
      () => this.ready(),
      (error: unknown) => this.#failed(error),
    );
  }

  stored(): void {
    this.session.messageStored();
    this.ready();
  }

  repeated(): void {
    this.isRepeated = true;
    this.ready();
  }

  ready(): void {
    this.#waits -= 1;
    if (this.#waits === 0) this.order.ready(this);
  }

  #failed(error: unknown): void {
    if (error instanceof NoRoomError) this.#refuse();
    else if (error instanceof RetainRefusedError) this.#refuseRetained();
    else this.notStored(error);
  }

  /** It exceeds the limits of its owner: only the state of the sessions could tell. */
  #refuseRetained(): void {
    this.#delivery.refused(this);
    if (!this.session.isMqtt5) {
      this.session.end('limit_exceeded');
      return;
    }
    this.reasonCode = ReasonCode.quotaExceeded;
    this.isDelivered = true;
    this.ready();
  }

  /** Nobody would get the message: MQTT 5 has a reason code for that; a client of MQTT 3.1.1 is disconnected, and sends it again. */
  #refuse(): void {
    this.#delivery.refused(this);
    if (!this.session.isMqtt5) {
      this.#failure = new Problem('unavailable', {
        reason: 'no session that would receive the message has room for it',
      });
    }
    this.reasonCode = ReasonCode.quotaExceeded;
    this.isDelivered = true;
    this.ready();
  }

  acknowledge(): void {
    if (this.#failure !== undefined) {
      this.notStored(this.#failure);
      return;
    }
    this.#respond();
    const { message, deliveryKey } = this;
    if (message === undefined || this.isDelivered) return;
    if (deliveryKey !== undefined) {
      const { deliveredKeys } = this.#delivery;
      if (this.isRepeated && deliveredKeys.has(deliveryKey)) return;
      deliveredKeys.add(deliveryKey);
      this.session.keyDelivered(deliveryKey);
    }
    this.#delivery.deliver(this, message);
  }

  #respond(): void {
    const { session, qos, packetId, reasonCode } = this;
    if (qos === 0) return;
    const { version } = session.connectPacket;
    if (qos === 1 && (reasonCode === ReasonCode.success || version === 4)) session.connection.acknowledge(packetId);
    else {
      const type = qos === 1 ? PacketType.puback : PacketType.pubrec;
      session.connection.send(encodeAcknowledgement(version, type, packetId, reasonCode));
    }
  }
}
