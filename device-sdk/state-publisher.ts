/** Holds the state of a device and its last error, and notifies listeners. */

import { DeviceError } from './device-error.ts';
import type { ConnectionState, DeviceState, StateListener, StateReason } from './device-state.ts';
import { Listeners } from './listeners.ts';

export class StatePublisher {
  readonly #listeners = new Listeners<Parameters<StateListener>>();
  #state: DeviceState = 'unenrolled';
  #lastError: DeviceError | undefined;
  /** The state that applies when no renewal or enrollment is in progress. */
  connectionState: ConnectionState = 'connecting';

  get state(): DeviceState {
    return this.#state;
  }

  get lastError(): DeviceError | undefined {
    return this.#lastError;
  }

  /** Calls back at each change, until the returned function is called. */
  onState(listener: StateListener): () => void {
    return this.#listeners.add(listener);
  }

  /** `closed` is final. */
  setState(state: DeviceState, error: DeviceError | undefined, reason: StateReason): void {
    if (this.#state === 'closed' || (this.#state === state && error === undefined)) return;
    this.#state = state;
    if (error !== undefined || state === 'connected') this.#lastError = error;
    this.#listeners.notify(state, error, reason);
    if (state === 'closed') this.#listeners.clear();
  }

  /** Resolves when the device is connected; rejects when it is refused, revoked or closed. */
  connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (this.#state === 'connected') resolve();
        else if (this.#state === 'revoked' || this.#isRefused) reject(this.#lastError);
        else if (this.#state === 'closed') reject(new DeviceError('closed'));
        else return false;
        return true;
      };
      if (check()) return;
      const forget = this.onState(() => {
        if (check()) forget();
      });
    });
  }

  get #isRefused(): boolean {
    const code = this.#lastError?.code;
    return this.#state === 'recovering' && (code === 'connection_refused' || code === 'server_untrusted');
  }
}
