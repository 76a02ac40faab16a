import { isProblemCode, PROBLEMS, type ProblemCode } from '@rollcall/protocol';
/** Codes of errors that arise on the device. */
export const DEVICE_ERRORS = {
  token_required: 'this device is not enrolled yet; expected a bootstrap token',
  token_malformed: 'expected a bootstrap token as "rollcall token create" prints it',
  server_untrusted: 'the server could not prove that it belongs to this fleet',
  server_refused: 'the server refused the request',
  answer_invalid: 'the server sent an answer that this device cannot use',
  connection_refused: 'the broker refused this device',
  connection_lost: 'the connection was lost',
  not_acknowledged: 'the message was sent several times and never acknowledged',
  message_refused: 'the broker refused this message',
  outbox_full: 'too many messages wait for a connection',
  queue_unwritable: 'the message could not be written to disk',
  queue_unusable: 'the directory of the queue cannot be used',
  message_dropped: 'the message was dropped in favor of newer ones before it was sent',
  message_expired: 'the message expired before it was sent',
  message_damaged: 'the message could not be read back from disk',
  identity_unusable: 'the stored identity cannot be used',
  fleet_differs:
    'the token names a root that this device does not trust; its owner can move it to another fleet with --replace-fleet',
  owner_required: 'only the owner of the agent may change its identity, through its control socket',
  agent_absent: 'the agent of this device does not answer',
  closed: 'this device was closed',
} as const;

export type DeviceErrorCode = ProblemCode | keyof typeof DEVICE_ERRORS;

export interface DeviceErrorOptions {
  /** What was expected and what was found. */
  readonly reason?: string;
  /** HTTP status of the server's answer, where there was one. */
  readonly status?: number;
  /** Seconds the server asks to wait before the next try (HTTP Retry-After). */
  readonly retryAfter?: number;
  /** The broker's reason as a word, where MQTT 5 told it. */
  readonly serverReason?: string | undefined;
  /** The reason code of MQTT 5 beside it. */
  readonly reasonCode?: number | undefined;
  readonly cause?: unknown;
}

/** Every promise of the SDK rejects with this. `code` is stable; `message` is for people. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError';
  readonly code: DeviceErrorCode;
  readonly status: number | undefined;
  readonly retryAfter: number | undefined;
  /** The broker's reason as a word, such as `device_revoked` or `taken_over`; undefined where it told none (MQTT 3.1.1). */
  readonly serverReason: string | undefined;
  /** The reason code of MQTT 5 in the broker's CONNACK, PUBACK or DISCONNECT; undefined where it sent none. */
  readonly reasonCode: number | undefined;

  constructor(code: DeviceErrorCode, options: DeviceErrorOptions = {}) {
    const sentence = isProblemCode(code) ? PROBLEMS[code].sentence : DEVICE_ERRORS[code];
    super(options.reason === undefined ? sentence : `${sentence}: ${options.reason}`, { cause: options.cause });
    this.code = code;
    this.status = options.status;
    this.retryAfter = options.retryAfter;
    this.serverReason = options.serverReason;
    this.reasonCode = options.reasonCode;
  }
}

/** Any thrown value as a DeviceError; what is not one already gets `code`. */
export function asDeviceError(error: unknown, code: DeviceErrorCode): DeviceError {
  if (error instanceof DeviceError) return error;
  return new DeviceError(code, { reason: error instanceof Error ? error.message : String(error), cause: error });
}
