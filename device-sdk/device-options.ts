import { NAME_RULE, parseGroupName } from '@rollcall/protocol';
import type { BroadcastHandler } from './broadcasts.ts';
import type { CommandHandler } from './commands.ts';
import { DeviceError } from './device-error.ts';
import type { DeviceParsers } from './device-schema.ts';
import type { DeviceLog, RefusalListener, StateListener } from './device-state.ts';
import { checkedEnrollUrl, checkedMqttUrls, type EnrollmentOptions } from './enrollment.ts';
import type { IdentityStore } from './identity-store.ts';
import type { MessageOptions } from './message-properties.ts';
import { checkOutboxOptions, type MessageKeys, type QueueOptions } from './open-outbox.ts';
import type { OutboxLimits } from './outbox.ts';
import { MQTT_VERSIONS, type MqttVersionChoice } from './protocol-versions.ts';
import type { Schedule } from './schedule.ts';

/** How a device is enrolled again. */
export interface EnrollAgainOptions {
  /** Whether the token may name a root that this device doesn't trust. The former identity is kept aside. */
  readonly replaceFleet?: boolean;
}

/** What `Device.open` takes, beside the place of the identity. All of it may be left out. */
export interface DeviceSettings extends EnrollmentOptions {
  /** The group whose broadcasts it hears. Default `default`. */
  readonly group?: string;
  /** Parsers of what comes and goes. */
  readonly schemas?: DeviceParsers;
  /** Handlers that must be in place before the first command can arrive; more can come with `onCommand`. */
  readonly commands?: Readonly<Record<string, CommandHandler>>;
  /** As {@link commands}, for broadcasts. */
  readonly broadcasts?: Readonly<Record<string, BroadcastHandler>>;
  /** Default `automatic`: MQTT 5 where the broker knows it, else 3.1.1. */
  readonly mqttVersion?: MqttVersionChoice;
  /** True starts without the commands that were queued while the device was away. Default false. */
  readonly clean?: boolean;
  /**
   * Seconds for which a broker with MQTT 5 keeps the subscriptions and the commands for a device that is away. Default: as long as the broker
   * does.
   */
  readonly sessionExpiry?: number;
  /** MQTT keep alive in seconds, 15 to 1200. Default 60. */
  readonly keepalive?: number;
  /** The queue on disk, which every device with a `dataDir` has. `memory`: none, messages go with the process. */
  readonly queue?: QueueOptions | 'memory';
  /**
   * `automatic`: telemetry of QoS 1 is sent with a key, so that a server of Rollcall stores a retry once. Default. `none`:
   * without, for other brokers, whose subscribers would see the key as a fifth level of the topic.
   */
  readonly messageKeys?: MessageKeys;
  /** Bounds of what waits in memory: QoS 0, and all of it without a queue on disk. Default 1,000 messages, 1 MiB. */
  readonly outbox?: Partial<OutboxLimits>;
  /**
   * `manual`: certificates are renewed only by {@link Device.renew}. Default `automatic`: when the server says, else from
   * two thirds of the life on.
   */
  readonly renewal?: 'automatic' | 'manual';
  /** As {@link Device.onState}, from the first moment on: `unenrolled` and `enrolling` come before there is a device. */
  readonly onState?: StateListener;
  /** As {@link Device.onRefused}, also for messages that an earlier run queued. */
  readonly onRefused?: RefusalListener;
  /** Clock, in milliseconds since 1970. */
  readonly now?: () => number;
  /** Numbers from 0 up to but not including 1, for jitter. */
  readonly random?: () => number;
  /** Timers of everything that takes long: reconnects, replay, renewal. */
  readonly schedule?: Schedule;
  /** A pino logger, or anything with its `debug`, `info` and `warn`. Default: silence. */
  readonly log?: DeviceLog;
}

/** Either a directory of the device's own (created with mode 0700), or a store. */
export type DeviceOptions = DeviceSettings &
  (
    | { readonly dataDir: string; readonly store?: undefined }
    | { readonly store: IdentityStore; readonly dataDir?: undefined }
  );

export interface PublishOptions extends MessageOptions {
  /** 1 (default): resolves when the message is safe. 0: resolves when it was written to the connection. */
  readonly qos?: 0 | 1;
}

export interface TelemetryOptions extends PublishOptions {
  /**
   * The application's own name for this message, one to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit. The server
   * stores one message of each name, whatever the stream. Keys that are a number, a dot and a text, with numbers that
   * count on, cost the server least.
   */
  readonly key?: string;
}

export const KEEPALIVE_S = 60;
/** A Session Expiry Interval that has no end (MQTT 5, section 3.1.2.11.2). */
export const NEVER_EXPIRES = 0xffff_ffff;

/** Throws `request_invalid`. */
export function checkSettings(options: DeviceOptions): void {
  const {
    enrollUrl,
    mqttUrl,
    keepalive = KEEPALIVE_S,
    sessionExpiry = NEVER_EXPIRES,
    group,
    mqttVersion = 'automatic',
  } = options;
  checkedEnrollUrl(enrollUrl);
  checkedMqttUrls(mqttUrl);
  if (group !== undefined && parseGroupName(group) === undefined) {
    throw new DeviceError('request_invalid', { reason: `expected a group of ${NAME_RULE}` });
  }
  checkOutboxOptions(options);
  if (!Number.isInteger(keepalive) || keepalive < 15 || keepalive > 1_200) {
    throw new DeviceError('request_invalid', { reason: 'expected a keepalive of 15 to 1200 seconds' });
  }
  if (!MQTT_VERSIONS.includes(mqttVersion)) {
    throw new DeviceError('request_invalid', { reason: `expected an MQTT version of ${MQTT_VERSIONS.join(', ')}` });
  }
  if (!Number.isInteger(sessionExpiry) || sessionExpiry < 0 || sessionExpiry > NEVER_EXPIRES) {
    throw new DeviceError('request_invalid', { reason: 'expected a session expiry of 0 to 4294967295 seconds' });
  }
}

/** The options without those that are undefined. */
export function withoutUndefined<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never;
}
