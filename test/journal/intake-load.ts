/** Devices that publish in a closed loop: each sends its next message when the one before it is acknowledged. */

import type { DeviceId } from '@rollcall/protocol';
import type { AcceptCallbacks, Telemetry } from '../../telemetry/index.ts';
import { deviceNamed } from '../behaviour/telemetry-messages.ts';

const PAYLOAD = Buffer.alloc(200, 0x20);

export interface IntakeLoad {
  /** Names of the devices begin with it. */
  readonly prefix: string;
  readonly devices: number;
  /** Messages of each device that are not acknowledged. */
  readonly inFlight: number;
  /** Of all devices. */
  readonly messages: number;
}

/** Resolves when all are acknowledged. */
export function publishThrough(intake: Pick<Telemetry, 'submit'>, load: IntakeLoad): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let unsent = load.messages;
  let unacknowledged = load.messages;
  const send = (device: DeviceId, callbacks: AcceptCallbacks) => {
    unsent -= 1;
    const message = { device, stream: 'climate', receivedAt: Date.now(), qos: 1 as const, payload: PAYLOAD };
    intake.submit(message, callbacks);
  };
  for (let i = 0; i < load.devices; i += 1) {
    const device = deviceNamed(`${load.prefix}-${i}`);
    const callbacks: AcceptCallbacks = {
      stored: () => {
        unacknowledged -= 1;
        if (unsent > 0) send(device, callbacks);
        else if (unacknowledged === 0) resolve();
      },
      repeated: () => reject(new Error('expected a message that was not stored before, found one that was')),
      notStored: reject,
    };
    for (let n = 0; n < load.inFlight && unsent > 0; n += 1) send(device, callbacks);
  }
  return promise;
}
