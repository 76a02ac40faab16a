import { isMessageKey, LEVEL_RULE, parseDecimal } from '@rollcall/protocol';
import { asDeviceError, DeviceError } from '../device-error.ts';
import type { TelemetryOptions } from '../device-options.ts';
import type { DeviceState } from '../device-state.ts';
import type { Payload } from '../payload.ts';
import type { Receipt } from '../receipt.ts';
import type { Schedule } from '../schedule.ts';

export interface PublishRequest {
  readonly kind: 'telemetry' | 'events';
  /** The stream, or the type of the event. */
  readonly name: string;
  readonly qos: 0 | 1;
  /** The application's own name for the message. */
  readonly key: string | undefined;
  /** How long the application waits for the broker's acknowledgement; undefined when it doesn't. */
  readonly timeout: number | undefined;
}

/** The part of the agent's device that a message needs. */
export interface PublishingDevice {
  readonly state: DeviceState;
  readonly lastError: DeviceError | undefined;
  onState(listener: (state: DeviceState) => void): () => void;
  /** Resolves when the device is enrolled; rejects when only an operator can help, or when `timeout` has ended. */
  enrolled(timeout: AbortSignal): Promise<void>;
  publish(stream: string, payload: Payload, options: TelemetryOptions): Promise<Receipt>;
  publishEvent(type: string, payload: Payload, options: { readonly qos: 0 | 1 }): Promise<Receipt>;
}

export interface PublishResponse {
  readonly status: 200 | 202;
  readonly body: {
    readonly key: string;
    readonly state: 'sent' | 'queued' | 'acknowledged';
    /** Why a message whose acknowledgement was waited for is only queued, where that is known. */
    readonly error?: { readonly code: string; readonly message: string };
  };
}

export const DEFAULT_TIMEOUT_S = 60;
export const TIMEOUT_MAX_S = 3_600;

/** Whole seconds, 1 to {@link TIMEOUT_MAX_S}; undefined for every other text. */
export function parseTimeout(text: string): number | undefined {
  return parseDecimal(text, 1, TIMEOUT_MAX_S);
}

/** What `?qos=`, `?key=`, `?wait=` and `?timeout=` say. Throws `request_invalid`. */
export function publishRequest(kind: PublishRequest['kind'], name: string, query: URLSearchParams): PublishRequest {
  const qos = query.get('qos') ?? '1';
  const wait = query.get('wait') ?? '0';
  const seconds = parseTimeout(query.get('timeout') ?? String(DEFAULT_TIMEOUT_S));
  if ((qos !== '0' && qos !== '1') || (wait !== '0' && wait !== '1') || seconds === undefined) {
    const reason = `expected qos=0 or 1, wait=0 or 1, timeout=1 to ${TIMEOUT_MAX_S} seconds`;
    throw new DeviceError('request_invalid', { reason, status: 400 });
  }
  const key = query.get('key') ?? undefined;
  if (key !== undefined && (kind === 'events' || !isMessageKey(key))) {
    const reason = `expected a key on telemetry alone, of ${LEVEL_RULE}`;
    throw new DeviceError('request_invalid', { reason, status: 400 });
  }
  const waits = wait === '1' && qos === '1';
  return { kind, name, qos: qos === '0' ? 0 : 1, key, timeout: waits ? seconds * 1_000 : undefined };
}

/**
 * Rejects while the message is nowhere; once it is on disk, there is an answer, whatever becomes of the wait. `gone` ends
 * it when the application has left: a message that was not taken yet then never is.
 */
export async function executePublish(
  { kind, name, qos, key, timeout }: PublishRequest,
  payload: Payload,
  {
    device,
    schedule,
    gone,
  }: { readonly device: PublishingDevice; readonly schedule: Schedule; readonly gone: AbortSignal },
): Promise<PublishResponse> {
  const take = () =>
    kind === 'telemetry'
      ? device.publish(name, payload, key === undefined ? { qos } : { qos, key })
      : device.publishEvent(name, payload, { qos });
  if (timeout === undefined) {
    const receipt = await take();
    return { status: 202, body: { key: receipt.key, state: qos === 0 ? 'sent' : 'queued' } };
  }
  const ending = new AbortController();
  const cancel = schedule(timeout, () => ending.abort());
  const leave = () => ending.abort();
  gone.addEventListener('abort', leave, { once: true });
  if (gone.aborted) ending.abort();
  try {
    await device.enrolled(ending.signal);
    const receipt = await take();
    const isStored = await Promise.race([
      receipt.acknowledged.then(() => true),
      rejectWhenRevokedOrAborted(device, ending.signal).then(() => false),
    ]);
    if (isStored) return { status: 200, body: { key: receipt.key, state: 'acknowledged' } };
    const why = device.lastError;
    const error = why && { code: why.code, message: why.message };
    return { status: 202, body: { key: receipt.key, state: 'queued', ...(error !== undefined && { error }) } };
  } catch (thrown) {
    throw asDeviceError(thrown, 'internal');
  } finally {
    cancel();
    gone.removeEventListener('abort', leave);
    ending.abort();
  }
}

/** Resolves when waiting on is no use: the time is over, or the fleet has refused the device for good. */
function rejectWhenRevokedOrAborted(device: PublishingDevice, timeout: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = (state: DeviceState) => {
      if (!timeout.aborted && state !== 'revoked') return;
      unlisten();
      timeout.removeEventListener('abort', end);
      resolve();
    };
    const end = () => look(device.state);
    const unlisten = device.onState(look);
    timeout.addEventListener('abort', end, { once: true });
    look(device.state);
  });
}
