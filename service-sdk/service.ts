import { DeviceError, encodePayload, type Payload, realTimers, SILENT_LOG } from '@rollcall/device-sdk/building-blocks';
import {
  broadcastTopic,
  type DeviceId,
  eventFilter,
  type GroupName,
  type LifecycleType,
  lifecycleFilter,
  NAME_RULE,
  parseDeviceId,
  parseDeviceTopic,
  parseGroupName,
  reportedFilter,
  telemetryFilter,
} from '@rollcall/protocol';
import { BrokerConnection } from './broker-connection.ts';
import { type CommandOptions, Requests } from './requests.ts';
import { ServiceCredentials } from './service-credentials.ts';
import { ServiceError } from './service-error.ts';
import { type DeviceEvent, type FleetEvent, Message, type ReportedTwin, type Telemetry } from './service-message.ts';
import { checkServiceOptions, clientIdOf, SESSION_EXPIRY_S, type ServiceOptions } from './service-options.ts';
import { readReported, ServiceTwin } from './service-twin.ts';
import { type Subscription, Subscriptions } from './subscriptions.ts';

/** Called for one message after the other. The broker gets its acknowledgement when the returned promise has settled. */
export type MessageHandler<T> = (message: T) => void | Promise<void>;

/** Of which device, and which stream of it; all of those that are left out. */
export interface TelemetryFilter {
  readonly device?: string;
  readonly stream?: string;
  /** Name of a shared subscription: each message goes to one of the processes that name it. */
  readonly share?: string;
}

/** Of which device, and which type; all of those that are left out. */
export interface DeviceEventFilter {
  readonly device?: string;
  readonly type?: string;
  /** Name of a shared subscription: each message goes to one of the processes that name it. */
  readonly share?: string;
}

/** Of which type, such as `presence.connected`, and about which device or service; all of those that are left out. */
export interface FleetEventFilter {
  readonly type?: LifecycleType;
  readonly name?: string;
}

interface RequestsConnection {
  readonly connection: BrokerConnection;
  readonly requests: Requests;
}

/** The session of commands and twins outlives a reconnection and not the process. Seconds. */
const REQUESTS_EXPIRY_S = 60;

/** A back-end application of the fleet. It connects when it is used first, and renews its certificate before that ends. */
export class Service {
  readonly #options: ServiceOptions;
  readonly #credentials: ServiceCredentials;
  readonly #clientId: string;
  readonly #subscriptions: Subscriptions;
  readonly #twins = new Map<DeviceId, ServiceTwin>();
  #main: BrokerConnection | undefined;
  #requests: RequestsConnection | undefined;
  #closing: Promise<void> | undefined;

  /**
   * Reads the credentials and begins to renew them when they are due. Connects when the first handler was registered, or at the first command.
   * Rejects with a {@link ServiceError} `credentials_unusable` or `request_invalid`.
   */
  static async open(options: ServiceOptions): Promise<Service> {
    checkServiceOptions(options);
    const { directory, renewal = 'automatic', log = SILENT_LOG, now = Date.now, random = Math.random } = options;
    let service: Service | undefined;
    const credentials = await ServiceCredentials.open({
      ...{ directory, renewal, log, now, random, schedule: options.schedule ?? realTimers },
      onChanged: () => service?.renewConnections(),
      onError: (error) => options.onError?.(error),
    });
    service = new Service(options, credentials);
    credentials.start();
    return service;
  }

  private constructor(options: ServiceOptions, credentials: ServiceCredentials) {
    this.#options = options;
    this.#credentials = credentials;
    this.#clientId = clientIdOf(credentials.current.name, options.clientId);
    const main = () => this.#mainConnection();
    this.#subscriptions = new Subscriptions(
      {
        subscribe: (filter) => main().subscribe(filter),
        unsubscribe: (filter) => main().unsubscribe(filter),
      },
      (error) => this.#report(error),
    );
  }

  /** The name in the certificate. */
  get name(): string {
    return this.#credentials.current.name;
  }

  /** When the current certificate ends. It is replaced before that. */
  get certificateEnd(): Date {
    return this.#credentials.certificateEnd;
  }

  /** Resolves when the broker accepted the connection of the subscriptions; rejects with `connection_refused`, or `closed`. A lost connection is waited out. */
  connected(): Promise<void> {
    return this.#mainConnection().connected();
  }

  /**
   * Calls back for telemetry. Register all handlers one after the other, without waiting in between: what the broker holds for this client id arrives
   * at once, and a message without a handler is acknowledged and dropped. Throws `request_invalid` for a name that is none.
   */
  onTelemetry(handler: MessageHandler<Telemetry>, filter: TelemetryFilter = {}): Subscription {
    const { device, stream, share } = filter;
    return this.#subscribe(
      checked(() => telemetryFilter(deviceIdOf(device), stream)),
      share,
      (message) => {
        const topic = parseDeviceTopic(message.topic);
        if (topic?.kind !== 'telemetry') return undefined;
        return handler(Object.assign(message, { device: topic.device, stream: topic.stream }));
      },
    );
  }

  /** Calls back for events that devices publish, as {@link onTelemetry} does. */
  onDeviceEvent(handler: MessageHandler<DeviceEvent>, filter: DeviceEventFilter = {}): Subscription {
    const { device, type, share } = filter;
    return this.#subscribe(
      checked(() => eventFilter(deviceIdOf(device), type)),
      share,
      (message) => {
        const topic = parseDeviceTopic(message.topic);
        if (topic?.kind !== 'event') return undefined;
        return handler(Object.assign(message, { device: topic.device, type: topic.type }));
      },
    );
  }

  /** Calls back for the reported state of each device, first for what is retained, then for each change. */
  onReported(handler: MessageHandler<ReportedTwin>, filter: { readonly device?: string } = {}): Subscription {
    return this.#subscribe(
      checked(() => reportedFilter(deviceIdOf(filter.device))),
      undefined,
      (message) => {
        const topic = parseDeviceTopic(message.topic);
        if (topic?.kind !== 'twin' || message.payload.length === 0) return undefined;
        return handler(readReported(topic.device, message));
      },
    );
  }

  /** Calls back for events of the fleet: connections, enrollments, device operations (docs/events.md). */
  onFleetEvent(handler: MessageHandler<FleetEvent>, filter: FleetEventFilter = {}): Subscription {
    const { type, name } = filter;
    return this.#subscribe(
      checked(() => lifecycleFilter(type, name)),
      undefined,
      (message) => handler(message.json<FleetEvent>()),
    );
  }

  /**
   * Sends a command and resolves to the response of the device. Text and bytes go out as they are, everything else as JSON. Rejects with a
   * {@link ServiceError}: `timeout`; `command_failed` with the device's word as `reason`, such as `interrupted` or `no handler`; `no_receiver`
   * for a device that never subscribed; `message_refused` or `subscription_refused` by the policy.
   */
  async command(device: string, name: string, payload: Payload = '', options: CommandOptions = {}): Promise<Message> {
    const id = requiredDeviceId(device);
    return invalidAsServiceError(() => this.#requestsConnection().requests.command(id, name, payload, options));
  }

  /** Sends a message to each device of a group, also to those that are away. Resolves when the broker has stored it. */
  async broadcast(group: string, name: string, payload: Payload = ''): Promise<void> {
    await invalidAsServiceError(() => {
      const parsed = parseGroupName(group);
      if (parsed === undefined) throw new RangeError(`expected a group of ${NAME_RULE}`);
      const topic = broadcastTopic(parsed as GroupName, name);
      return this.#requestsConnection().connection.publish(topic, encodePayload(payload), { qos: 1 });
    });
  }

  /** The twin of a device. */
  twin(device: string): ServiceTwin {
    const id = requiredDeviceId(device);
    const { connection, requests } = this.#requestsConnection();
    const twin = this.#twins.get(id) ?? new ServiceTwin(id, requests, connection);
    this.#twins.set(id, twin);
    return twin;
  }

  /** Renews the certificate now and connects with the new one. Rejects with a {@link ServiceError} `renewal_failed`. */
  renew(): Promise<void> {
    return this.#credentials.renew();
  }

  /** Waits for the acknowledgements of what was sent, disconnects, and leaves no timer behind. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** @internal */
  renewConnections(): void {
    this.#main?.renew();
    this.#requests?.connection.renew();
  }

  async #close(): Promise<void> {
    await this.#credentials.close();
    await Promise.all([this.#main?.close(), this.#requests?.connection.close()]);
    this.#subscriptions.close();
  }

  #subscribe(
    filter: string,
    share: string | undefined,
    handle: (message: Message) => void | Promise<void>,
  ): Subscription {
    const subscription = this.#subscriptions.add(filter, share, async (packet) => handle(new Message(packet)));
    this.#mainConnection();
    return subscription;
  }

  /** Connects in the next turn of the event loop: handlers that are registered in this one are in place then. */
  #mainConnection(): BrokerConnection {
    if (this.#main !== undefined) return this.#main;
    if (this.#closing !== undefined) throw new ServiceError('closed');
    const { log = SILENT_LOG } = this.#options;
    const connection = this.#connect({
      clientId: this.#clientId,
      resume: true,
      sessionExpiry: this.#options.sessionExpiry ?? SESSION_EXPIRY_S,
      handle: async (packet) => {
        if (!(await this.#subscriptions.dispatch(packet)))
          log.warn({ topic: packet.topic }, 'message of an earlier subscription dropped');
      },
      onConnected: (isResumed) => this.#subscriptions.connected(isResumed),
      onLost: () => this.#subscriptions.lost(),
    });
    this.#main = connection;
    return connection;
  }

  #requestsConnection(): RequestsConnection {
    if (this.#requests !== undefined) return this.#requests;
    if (this.#closing !== undefined) throw new ServiceError('closed');
    const connection = this.#connect({
      clientId: `${this.#clientId}-requests`,
      resume: false,
      sessionExpiry: REQUESTS_EXPIRY_S,
      handle: async (packet) => requests.received(packet),
      onConnected: (isResumed) => requests.connected(isResumed),
      onLost: () => {},
    });
    const requests = new Requests(connection, this.#options.schedule ?? realTimers);
    this.#requests = { connection, requests };
    return this.#requests;
  }

  #connect(
    options: Pick<
      ConstructorParameters<typeof BrokerConnection>[0],
      'clientId' | 'resume' | 'sessionExpiry' | 'handle' | 'onConnected' | 'onLost'
    >,
  ): BrokerConnection {
    const { random = Math.random, log = SILENT_LOG } = this.#options;
    const connection = new BrokerConnection({
      ...options,
      ...{ random, log },
      identity: () => this.#credentials.current,
      onLost: (error) => {
        options.onLost(error);
        if (error.code === 'server_untrusted') void this.#credentials.followRoots();
        this.#report(error);
      },
    });
    setImmediate(() => {
      if (this.#closing === undefined) connection.start();
    });
    return connection;
  }

  #report(error: ServiceError): void {
    const { log = SILENT_LOG, onError } = this.#options;
    log.warn({ code: error.code, reason: error.reason }, error.message);
    onError?.(error);
  }
}

function deviceIdOf(text: string | undefined): DeviceId | undefined {
  return text === undefined ? undefined : requiredDeviceId(text);
}

function requiredDeviceId(text: string): DeviceId {
  const id = parseDeviceId(text);
  if (id === undefined) throw new ServiceError('request_invalid', { detail: `expected a device id of ${NAME_RULE}` });
  return id;
}

/** Names that are no level of a topic. */
function checked<T>(build: () => T): T {
  try {
    return build();
  } catch (error) {
    throw invalid(error);
  }
}

async function invalidAsServiceError<T>(send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    throw invalid(error);
  }
}

function invalid(error: unknown): unknown {
  if (error instanceof RangeError || error instanceof DeviceError)
    return new ServiceError('request_invalid', { detail: error.message, cause: error });
  return error;
}
