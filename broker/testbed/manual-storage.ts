/** Storage of telemetry that answers when the test says so. */

import type { TelemetryMessage } from '../../telemetry/telemetry.ts';

export function manualStorage() {
  const waiting: {
    readonly message: TelemetryMessage;
    readonly resolve: () => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  let arrived = () => {};
  return {
    waiting,
    accept: (message: TelemetryMessage) =>
      new Promise<void>((resolve, reject) => {
        waiting.push({ message, resolve, reject });
        arrived();
      }),
    /** Resolves when so many wait. */
    async count(wanted: number) {
      while (waiting.length < wanted) {
        await new Promise<void>((resolve) => {
          arrived = resolve;
        });
      }
    },
  };
}
