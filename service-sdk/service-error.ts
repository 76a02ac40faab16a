import { type DeviceError, serverReason } from '@rollcall/device-sdk/building-blocks';

/** Codes of errors of a service, with their sentences. */
export const SERVICE_ERRORS = {
  credentials_unusable: 'the credentials in the directory cannot be used',
  connection_refused: 'the broker refused this service',
  connection_lost: 'the connection was lost',
  server_untrusted: 'the server could not prove that it belongs to this fleet',
  renewal_refused: 'the server refused to renew the certificate of this service',
  renewal_failed: 'the certificate was not renewed',
  subscription_refused: 'the broker refused the subscription',
  message_refused: 'the broker refused the message',
  no_receiver: 'no device has subscribed to the message: it was never connected, or is not enrolled',
  command_failed: 'the device answered with an error',
  timeout: 'no response came within the time',
  handler_failed: 'a handler of the application failed',
  request_invalid: 'the request cannot be sent',
  closed: 'this service was closed',
} as const;

export type ServiceErrorCode = keyof typeof SERVICE_ERRORS;

export interface ServiceErrorOptions {
  /** What was found. */
  readonly detail?: string | undefined;
  readonly reason?: string | undefined;
  readonly reasonCode?: number | undefined;
  readonly cause?: unknown;
}

/** Every promise of the SDK rejects with this. `code` is stable; `message` is for people. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  readonly code: ServiceErrorCode;
  /** The broker's or the enroll server's reason as a word, such as `device_revoked` or `not_authorized`; of a failed command the device's. */
  readonly reason: string | undefined;
  /** The reason code of MQTT 5, where the broker sent one. */
  readonly reasonCode: number | undefined;

  constructor(code: ServiceErrorCode, { detail, reason, reasonCode, cause }: ServiceErrorOptions = {}) {
    const more = detail ?? reason;
    super(more === undefined ? SERVICE_ERRORS[code] : `${SERVICE_ERRORS[code]}: ${more}`, { cause });
    this.code = code;
    this.reason = reason;
    this.reasonCode = reasonCode;
  }
}

/** An error with a reason code of MQTT 5, and the properties of its packet if there are any. */
export function brokerError(
  code: ServiceErrorCode,
  reasonCode: number,
  properties?: { readonly reasonString?: string | undefined },
): ServiceError {
  const said = properties?.reasonString;
  const { word, text } = serverReason(reasonCode, said === undefined ? undefined : { reasonString: said });
  return new ServiceError(code, { detail: text, reason: word, reasonCode });
}

/** An error of the device SDK's building blocks. */
export function asServiceError(error: DeviceError, code: ServiceErrorCode): ServiceError {
  return new ServiceError(code, { detail: error.message, reason: error.code, cause: error });
}
