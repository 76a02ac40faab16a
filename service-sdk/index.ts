/** The public interface of the service SDK: everything that an application may import. */

export type { DeviceId, LifecycleEvent, LifecycleType } from '@rollcall/protocol';
export type { CommandOptions } from './requests.ts';
export {
  type DeviceEventFilter,
  type FleetEventFilter,
  type MessageHandler,
  Service,
  type TelemetryFilter,
} from './service.ts';
export { ServiceError, type ServiceErrorCode } from './service-error.ts';
export type { DeviceEvent, FleetEvent, Message, ReportedTwin, Telemetry } from './service-message.ts';
export type { ServiceLog, ServiceOptions } from './service-options.ts';
export type { ServiceTwin, TwinSide } from './service-twin.ts';
export type { Subscription } from './subscriptions.ts';
