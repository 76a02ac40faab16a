import { type DeviceId, parseDeviceId } from '@rollcall/protocol';
import type { StoredMessage, Telemetry, TelemetryMessage } from '../../telemetry/index.ts';
export interface FreshTelemetry {
  readonly telemetry: Telemetry;
  /** Closes the journal and opens its files again. */
  reopen(): Promise<Telemetry>;
}

/** Opens an empty journal that lives until the test ends. */
export type OpenFreshTelemetry = () => Promise<FreshTelemetry>;

export const START = Date.UTC(2030, 0, 1);
export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

export function deviceNamed(text: string): DeviceId {
  const id = parseDeviceId(text);
  if (id === undefined) throw new Error(`expected a device id, found ${text}`);
  return id;
}

export function message(
  device: string,
  payload: string | Uint8Array,
  { stream = 'temperature', receivedAt = START }: { readonly stream?: string; readonly receivedAt?: number } = {},
): TelemetryMessage {
  return { device: deviceNamed(device), stream, receivedAt, qos: 1, payload: Buffer.from(payload) };
}

export function texts(found: readonly StoredMessage[]): string[] {
  return found.map(({ payload }) => Buffer.from(payload).toString());
}
