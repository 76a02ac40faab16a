import type { DeviceLog, Schedule } from '@rollcall/device-sdk/building-blocks';
import { NAME_RULE } from '@rollcall/protocol';
import { ServiceError } from './service-error.ts';

/** A pino logger, or anything with its `debug`, `info` and `warn`. */
export type ServiceLog = DeviceLog;

/** What `Service.open` takes. */
export interface ServiceOptions {
  /** The directory that `rollcall service issue` wrote. */
  readonly directory: string;
  /**
   * Client id of the subscriptions: the name of the service, which is the default, or that name with `-` and an ending. Each process needs one of
   * its own, and the same one at each start: messages wait at the broker under it. Commands and twins use it with `-requests`.
   */
  readonly clientId?: string;
  /** Seconds for which the broker holds subscriptions and messages for a process that is away. Default 86,400; the broker may have a lower limit. */
  readonly sessionExpiry?: number;
  /**
   * `automatic`: the service renews its certificate, and replaces the files in the directory. Default. `external`: another process does, such as
   * `rollcall service renew`; the directory is read again once an hour and connects with what it finds. For all processes but one
   * that share a directory.
   */
  readonly renewal?: 'automatic' | 'external';
  /** Called for what no promise reports: a handler that failed, a connection that was lost or refused, a renewal that was refused. */
  readonly onError?: (error: ServiceError) => void;
  /** Default: silence. */
  readonly log?: ServiceLog;
  /** Clock, in milliseconds since 1970. */
  readonly now?: () => number;
  /** Numbers from 0 up to but not including 1, for jitter. */
  readonly random?: () => number;
  /** Timers of renewals and of responses. */
  readonly schedule?: Schedule;
}

export const SESSION_EXPIRY_S = 86_400;
const SESSION_EXPIRY_MAX = 0xffff_ffff;

/** Throws `request_invalid`. */
export function checkServiceOptions({ sessionExpiry = SESSION_EXPIRY_S, renewal = 'automatic' }: ServiceOptions): void {
  if (!Number.isInteger(sessionExpiry) || sessionExpiry < 0 || sessionExpiry > SESSION_EXPIRY_MAX)
    throw new ServiceError('request_invalid', { detail: 'expected a session expiry of 0 to 4294967295 seconds' });
  if (renewal !== 'automatic' && renewal !== 'external')
    throw new ServiceError('request_invalid', { detail: 'expected renewal automatic or external' });
}

/** The client id, which has to be one that the service owns. Throws `request_invalid`. */
export function clientIdOf(name: string, asked: string = name): string {
  if (asked === name || (asked.startsWith(`${name}-`) && CLIENT_ID.test(asked))) return asked;
  throw new ServiceError('request_invalid', {
    detail: `expected the client id ${name}, or ${name}- and an ending, of ${NAME_RULE}`,
  });
}

const CLIENT_ID = /^[A-Za-z0-9._-]{1,128}$/;
