/** The public interface of the device SDK: everything that an application may import. */

export type { BootstrapToken, DeviceId } from '@rollcall/protocol';
export { parseBootstrapToken } from '@rollcall/protocol';
export type { Broadcast, BroadcastHandler } from './broadcasts.ts';
export type { ChildOptions } from './children.ts';
export type { Command, CommandHandler, CommandOptions } from './commands.ts';
export { Device } from './device.ts';
export type { ClockStatus } from './device-clock.ts';
export { DeviceError, type DeviceErrorCode } from './device-error.ts';
export {
  DeviceIdentity,
  type DeviceIdentityOptions,
  type DeviceIdentitySettings,
  type MqttTlsOptions,
  type ReconnectingClient,
} from './device-identity.ts';
export type {
  DeviceOptions,
  DeviceSettings,
  EnrollAgainOptions,
  PublishOptions,
  TelemetryOptions,
} from './device-options.ts';
export type { DeviceParsers, DeviceSchema, JsonObject, Parser } from './device-schema.ts';
export type { DeviceLog, DeviceState, RefusalListener, StateListener, StateReason } from './device-state.ts';
export { type EnrollmentOptions, type EnrollmentOrder, enrollOnce } from './enrollment.ts';
export { fileIdentityStore } from './file-identity-store.ts';
export {
  type Credentials,
  type IdentityStore,
  memoryIdentityStore,
  type PendingRequest,
  type PendingRequestStore,
  type StoredIdentity,
} from './identity-store.ts';
export type { KeyProvider, TlsKey } from './key-provider.ts';
export type { MessageOptions } from './message-properties.ts';
export type { MessageKeys, QueueOptions } from './open-outbox.ts';
export type { OutboxLimits, OutboxStatus } from './outbox.ts';
export type { DropPolicy, StreamRules } from './outbox-streams.ts';
export { PAYLOAD_MAX, type Payload } from './payload.ts';
export type { MqttVersionChoice } from './protocol-versions.ts';
export type { Receipt } from './receipt.ts';
export type { Schedule } from './schedule.ts';
export type { Priority } from './send-window.ts';
export type { DesiredListener, Twin, TwinState } from './twin.ts';
