/** What operators exchange with devices: commands with their responses, and the two sides of a twin. */

import type { DeviceId, TwinObject, TwinState } from '@rollcall/protocol';
import type { Actor } from '../registry/index.ts';

export interface CommandOrder {
  readonly device: DeviceId;
  /** A level of a topic. */
  readonly name: string;
  readonly payload: Buffer;
  /** How long to wait for the response; 0: not at all. */
  readonly waitMs: number;
  /** After so long the command is not delivered any more; undefined: it stays as long as the session of the device. */
  readonly expiresMs: number | undefined;
  readonly actor: Actor;
}

export interface CommandResult {
  /** Names the response topic. */
  readonly requestId: string;
  /** `connected`: the device gets it at once. `stored`: when it connects. */
  readonly delivery: 'connected' | 'stored';
  readonly outcome: 'sent' | 'answered' | 'timed_out';
  /** With outcome `answered`. */
  readonly response?: { readonly payload: Buffer; readonly at: number };
}

/** A side is undefined while there is no message, or none that is a state. */
export interface TwinView {
  readonly desired: TwinState | undefined;
  readonly reported: (TwinState & { readonly desiredVersion: number | undefined }) | undefined;
  /** What of the desired state is not reported. */
  readonly pending: TwinObject;
}

export interface DesiredChange {
  readonly device: DeviceId;
  readonly state: TwinObject;
  /** `merge`: RFC 7396. */
  readonly mode: 'merge' | 'replace';
  /** Refuse the change unless the desired state has this version; 0: unless there is none. */
  readonly ifVersion: number | undefined;
  readonly actor: Actor;
}

/** Throws the Problems that docs/errors.md lists for commands and twins. */
export interface DeviceMessages {
  command(order: CommandOrder): Promise<CommandResult>;
  twin(device: DeviceId): Promise<TwinView>;
  changeDesired(change: DesiredChange): Promise<TwinView>;
}
