import type { Device } from '@rollcall/device-sdk';

/** Resolves when the first try to connect has succeeded or failed, or when `signal` aborts. */
export function firstConnection(device: Device, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (device.state === 'connecting' && !signal.aborted) return;
      removeListener();
      signal.removeEventListener('abort', check);
      resolve();
    };
    const removeListener = device.onState(check);
    signal.addEventListener('abort', check);
    check();
  });
}
