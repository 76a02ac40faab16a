/**
 * Commands of operators to devices: checked against the registry, recorded in the audit, published as any message of the server, and
 * answered on the response topic of their request. docs/twin.md describes the messages.
 */

import { randomBytes } from 'node:crypto';
import { commandTopic, type DeviceId, Problem, responseTopic } from '@rollcall/protocol';
import type { Broker } from '../broker/index.ts';
import type { CommandOrder, CommandResult } from '../console/index.ts';
import { type DeviceRecord, performAnnouncedAction, type Registry } from '../registry/index.ts';

export interface DeviceCommandsOptions {
  readonly broker: Pick<Broker, 'listen' | 'reachability' | 'send'>;
  readonly registry: Pick<Registry, 'findDevice' | 'recordAction'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Commands whose response operators wait for, at most: each has a subscription and an HTTP request. */
const WAITING_MAX = 256;
const RETRY_AFTER_S = 5;

export class DeviceCommands {
  readonly #options: DeviceCommandsOptions;
  #waiting = 0;

  constructor(options: DeviceCommandsOptions) {
    this.#options = options;
  }

  /**
   * Resolves when the command is stored, and with `waitMs` when its response arrived or the time is over. Throws Problem `device_unknown`,
   * `device_revoked`, `device_suspended`, `device_quarantined`, `device_offline`, `command_not_received`, `rate_limited` or `unavailable`.
   */
  async send(order: CommandOrder): Promise<CommandResult> {
    const { device, waitMs } = order;
    expectActive(await this.#options.registry.findDevice(device));
    const requestId = `op-${randomBytes(8).toString('hex')}`;
    const topic = commandTopic(device, order.name, requestId);
    const delivery = await this.#deliveryOf(device, topic);
    if (waitMs === 0) {
      await this.#publish(order, { topic, requestId, delivery });
      return { requestId, delivery, outcome: 'sent' };
    }
    if (this.#waiting >= WAITING_MAX) {
      throw new Problem('rate_limited', {
        retryAfter: RETRY_AFTER_S,
        reason: `${WAITING_MAX} commands wait for a response`,
      });
    }
    this.#waiting += 1;
    const response = Promise.withResolvers<{ readonly payload: Buffer; readonly at: number } | undefined>();
    // The subscription is there before the command, so that no response is missed.
    const stop = this.#options.broker.listen(responseTopic(device, requestId), (payload) =>
      response.resolve({ payload, at: this.#options.now() }),
    );
    let timer: NodeJS.Timeout | undefined;
    try {
      await this.#publish(order, { topic, requestId, delivery });
      timer = setTimeout(() => response.resolve(undefined), waitMs);
      const answer = await response.promise;
      if (answer === undefined) return { requestId, delivery, outcome: 'timed_out' };
      return { requestId, delivery, outcome: 'answered', response: answer };
    } finally {
      clearTimeout(timer);
      stop();
      this.#waiting -= 1;
    }
  }

  async #deliveryOf(device: DeviceId, topic: string): Promise<CommandResult['delivery']> {
    const reached = await this.#options.broker.reachability(device, topic);
    switch (reached) {
      case 'connected':
      case 'stored':
        return reached;
      case 'away':
        throw new Problem('device_offline');
      case 'not_subscribed':
      case 'not_allowed':
        throw new Problem('command_not_received', { reason: reached });
    }
  }

  /** The audit has name and size of the command: its payload may contain secrets. */
  async #publish(
    { device, name, payload, expiresMs, actor }: CommandOrder,
    { topic, requestId, delivery }: { topic: string; requestId: string; delivery: CommandResult['delivery'] },
  ): Promise<void> {
    const { broker, registry, now } = this.#options;
    await performAnnouncedAction(
      registry,
      {
        name: 'device.command',
        actor,
        subject: `device/${device}`,
        details: { command: name, requestId, bytes: payload.length },
        outcome: () => [{ action: 'device.command.sent', details: { command: name, requestId, delivery } }],
      },
      () => broker.send({ topic, payload, qos: 1, expiresAt: expiresMs === undefined ? undefined : now() + expiresMs }),
    );
  }
}

/** Throws the Problem of a device that may not receive messages of operators. */
export function expectActive(record: DeviceRecord | undefined): void {
  if (record === undefined) throw new Problem('device_unknown');
  if (record.status !== 'active') throw new Problem(`device_${record.status}`);
}
