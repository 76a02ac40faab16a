import {
  broadcastFilter,
  commandFilter,
  DEFAULT_GROUP,
  type DeviceId,
  eventTopic,
  type GroupName,
  serverNoticeFilter,
  TRUST_BUNDLE_TOPIC,
  telemetryTopic,
  twinTopic,
} from '@rollcall/protocol';
import { BroadcastDispatcher, type BroadcastHandler } from './broadcasts.ts';
import { type ChildOptions, Children } from './children.ts';
import { CommandDispatcher, type CommandHandler, type CommandOptions } from './commands.ts';
import type { ClockStatus, DeviceClock } from './device-clock.ts';
import { asDeviceError, type DeviceError } from './device-error.ts';
import {
  type DeviceOptions,
  type EnrollAgainOptions,
  KEEPALIVE_S,
  NEVER_EXPIRES,
  type PublishOptions,
  type TelemetryOptions,
  withoutUndefined,
} from './device-options.ts';
import { type CompleteSettings, type DeviceParts, openParts } from './device-parts.ts';
import {
  type BroadcastsOf,
  type CommandsOf,
  type DesiredOf,
  type DeviceSchema,
  type EventsOf,
  type Parser,
  parsed,
  type ReportedOf,
  type RequestOf,
  type ResponseOf,
  type StreamsOf,
} from './device-schema.ts';
import type { DeviceState, RefusalListener, StateListener } from './device-state.ts';
import { checkedMqttUrls } from './enrollment.ts';
import { fetchServerTime } from './https-exchange.ts';
import { IdentityManager } from './identity-manager.ts';
import { Inbox } from './inbox.ts';
import { Listeners } from './listeners.ts';
import { messageProperties } from './message-properties.ts';
import { MqttClient } from './mqtt-client.ts';
import type { NewMessage, Outbox, OutboxStatus } from './outbox.ts';
import { encodePayload, type Payload } from './payload.ts';
import type { Receipt } from './receipt.ts';
import { type ReplyProperties, type RequestedReply, replyTo } from './reply.ts';
import { StatePublisher } from './state-publisher.ts';
import { Twin } from './twin.ts';

/** A device of the fleet. Its type argument says what its streams, events, commands, broadcasts and twin are. */
export class Device<Schema extends DeviceSchema = DeviceSchema> {
  readonly id: DeviceId;
  readonly #options: CompleteSettings;
  readonly #clock: DeviceClock;
  readonly #outbox: Outbox;
  readonly #mqttClient: MqttClient;
  readonly #identityManager: IdentityManager;
  readonly #commands: CommandDispatcher;
  readonly #broadcasts: BroadcastDispatcher;
  readonly #twin: Twin<never, never>;
  readonly #group: GroupName;
  readonly #statePublisher = new StatePublisher();
  readonly #refusals = new Listeners<Parameters<RefusalListener>>();
  readonly #children: Children<Device>;
  #usesTwin = false;
  #closing: Promise<void> | undefined;

  /**
   * Enrolls if the device has no identity yet, then connects in the background: an enrolled device opens without a
   * network. Rejects with a {@link DeviceError} when there is no identity and none can be had; it doesn't try again by
   * itself (`retryAfter` says when the server would like to be asked again).
   */
  static async open<Schema extends DeviceSchema = DeviceSchema>(options: DeviceOptions): Promise<Device<Schema>> {
    const parts = await openParts(options);
    const device: Device<Schema> = new Device<Schema>(
      parts,
      await Twin.open({
        file: parts.twinFile,
        publish: (payload) => device.#report(payload),
        parser: options.schemas?.desired,
        log: parts.settings.log,
      }),
    );
    return device;
  }

  private constructor(parts: DeviceParts, twin: Twin<never, never>) {
    const { settings: options, identity, clock, outbox, store, ledger } = parts;
    const { random, schedule, log, schemas = {} } = options;
    const { now } = clock;
    this.id = identity.deviceId;
    this.#options = options;
    this.#clock = clock;
    this.#outbox = outbox;
    this.#twin = twin;
    this.#group = (options.group ?? DEFAULT_GROUP) as GroupName; // checked before anything else happened
    if (options.onState !== undefined) this.#statePublisher.onState(options.onState);
    if (options.onRefused !== undefined) this.#refusals.add(options.onRefused);
    this.#mqttClient = new MqttClient(
      {
        identity,
        keys: options.keys,
        mqttUrls: checkedMqttUrls(options.mqttUrl),
        mqttVersion: options.mqttVersion ?? 'automatic',
        clean: options.clean ?? false,
        sessionExpiry: options.sessionExpiry ?? NEVER_EXPIRES,
        keepalive: options.keepalive ?? KEEPALIVE_S,
        dates: () => clock.dates(),
        learnTime: () => {
          const { enrollUrl, rootPem, rootCrlPem } = this.#identityManager.identity;
          return fetchServerTime({ url: enrollUrl, root: rootPem, rootCrl: rootCrlPem }, clock);
        },
        ...{ outbox, log, now, schedule, random },
      },
      {
        changed: (link, error, reason) => this.#identityManager.connectionChanged(link, error, reason),
        refused: (topic, error) => this.#refusals.notify(topic, error),
        message: (topic, payload, properties) => inbox.received(topic, payload, properties),
      },
    );
    this.#identityManager = new IdentityManager({
      ...{ store, identity, settings: options, clock, random, schedule, log },
      statePublisher: this.#statePublisher,
      mqttClient: this.#mqttClient,
    });
    this.#broadcasts = new BroadcastDispatcher(schemas.broadcasts ?? {}, log);
    this.#commands = new CommandDispatcher({
      respond: (requestId, payload, requested) => this.#respond(requestId, payload, requested),
      ...{ ledger, parsers: schemas.commands ?? {}, schedule, log },
    });
    const inbox = new Inbox({
      ...{ deviceId: this.id, group: this.#group, twin, log },
      ...{ commands: this.#commands, broadcasts: this.#broadcasts, identityManager: this.#identityManager },
    });
    this.#children = new Children<Device>(options, async (settings) => {
      const child = await Device.open(settings);
      child.onState((state) => {
        if (state === 'closed') this.#children.detached(child.id);
      });
      return child;
    });
    this.#mqttClient.subscribe(serverNoticeFilter(this.id), TRUST_BUNDLE_TOPIC);
    for (const [name, handler] of Object.entries(options.commands ?? {})) this.#listen(name, handler, {});
    for (const [name, handler] of Object.entries(options.broadcasts ?? {})) this.#hear(name, handler);
    this.#mqttClient.start();
    this.#identityManager.start();
  }

  /** What is going on; {@link onState} tells of each change. */
  get state(): DeviceState {
    return this.#statePublisher.state;
  }

  /** Why the device is `recovering` or `revoked`, or could not renew. Undefined after a connection was made. */
  get lastError(): DeviceError | undefined {
    return this.#statePublisher.lastError;
  }

  /** Version of MQTT on the last connection that the broker accepted; undefined before. */
  get mqttVersion(): '5' | '3.1.1' | undefined {
    const { version } = this.#mqttClient;
    return version && (version === 5 ? '5' : '3.1.1');
  }

  /** Calls back at each change of state, until the returned function is called. */
  onState(listener: StateListener): () => void {
    return this.#statePublisher.onState(listener);
  }

  /**
   * Calls back for each message that the broker refused with a reason (MQTT 5), until the returned function is called. The receipt's
   * `acknowledged` rejects as well, and `queue.refused` counts it; the messages behind it are sent.
   */
  onRefused(listener: RefusalListener): () => void {
    return this.#refusals.add(listener);
  }

  /** Resolves when the device is connected; rejects when it is refused, revoked or closed. A lost connection is waited out. */
  connected(): Promise<void> {
    return this.#statePublisher.connected();
  }

  /** What time it is, and how wrong the system's clock. */
  get clock(): ClockStatus {
    return this.#clock.status;
  }

  /** What waits for the broker. */
  get queue(): OutboxStatus {
    return this.#outbox.status;
  }

  /**
   * Publishes on `devices/{id}/telemetry/{stream}`, with a key behind it (see `messageKeys`). With QoS 1 it resolves as soon as a power cut can't take the message
   * any more: it is in the queue on disk, or, for a device without one, acknowledged by the broker. The receipt's
   * `acknowledged` resolves at the acknowledgement in either case. Rejects with `outbox_full`, or `queue_unwritable`.
   */
  publish<Name extends keyof StreamsOf<Schema> & string>(
    stream: Name,
    payload: StreamsOf<Schema>[Name] & Payload,
    options: TelemetryOptions = {},
  ): Promise<Receipt> {
    const parser = this.#options.schemas?.streams?.[stream];
    const { key, ...rest } = options;
    return this.#publish(() => telemetryTopic(this.id, stream, key), parser, payload, rest);
  }

  /** Publishes on `devices/{id}/events/{type}`, as {@link publish} does. */
  publishEvent<Name extends keyof EventsOf<Schema> & string>(
    type: Name,
    payload: EventsOf<Schema>[Name] & Payload,
    options: PublishOptions = {},
  ): Promise<Receipt> {
    const parser = this.#options.schemas?.events?.[type];
    return this.#publish(() => eventTopic(this.id, type), parser, payload, options);
  }

  /** What the fleet wants of this device, and what the device reports. From the first use on it is kept up to date. */
  get twin(): Twin<DesiredOf<Schema>, ReportedOf<Schema>> {
    if (!this.#usesTwin) {
      this.#usesTwin = true;
      this.#mqttClient.subscribe(twinTopic(this.id, 'desired'));
      void this.#twin.repeat();
    }
    return this.#twin as unknown as Twin<DesiredOf<Schema>, ReportedOf<Schema>>;
  }

  /** Resolves when nothing waits any more; rejects with `closed`. */
  drained(): Promise<void> {
    return this.#outbox.drained();
  }

  /**
   * Handles commands of one name, or with `*` all that have no handler of their own. What it returns is the answer. A
   * command runs at most once, over reboots too: one that a crash interrupted is answered with `{"error":"interrupted"}`.
   */
  onCommand<Name extends keyof CommandsOf<Schema> & string>(
    name: Name | '*',
    handler: CommandHandler<RequestOf<CommandsOf<Schema>[Name]>, ResponseOf<CommandsOf<Schema>[Name]>>,
    options: CommandOptions = {},
  ): void {
    this.#listen(name, handler as CommandHandler, options);
  }

  /** Handles broadcasts of one name to the device's group, or with `*` all that have no handler of their own. */
  onBroadcast<Name extends keyof BroadcastsOf<Schema> & string>(
    name: Name | '*',
    handler: BroadcastHandler<BroadcastsOf<Schema>[Name]>,
  ): void {
    this.#hear(name, handler as BroadcastHandler);
  }

  /**
   * For gateways: attaches a device that can't do TLS itself, under its own name, with an identity, a connection, topics,
   * presence and a queue of its own in `children/{id}` of the gateway's directory. It is enrolled with `token` the first
   * time; rejects as {@link Device.open} does. The child's `close()` detaches it, and so does the gateway's.
   */
  child<Child extends DeviceSchema = DeviceSchema>(id: string, options: ChildOptions = {}): Promise<Device<Child>> {
    return this.#children.attach(id, options) as Promise<Device<never>> as Promise<Device<Child>>;
  }

  /** Names of the children that are attached. */
  get children(): readonly DeviceId[] {
    return this.#children.ids;
  }

  /**
   * Gets the next certificate, with a new key, reconnects with it, and keeps it if the broker accepts it; otherwise the
   * device goes on with the one it has. Two calls at one time are one renewal.
   */
  renew(): Promise<void> {
    return this.#identityManager.renew();
  }

  /**
   * Enrolls this device again, under its own name, with a new bootstrap token: the way back from `revoked`. What waits in
   * the queue goes out then. Rejects as {@link Device.open} does, and leaves everything as it was.
   */
  enroll(token: string, options: EnrollAgainOptions = {}): Promise<void> {
    return this.#identityManager.enroll(token, options);
  }

  /**
   * Disconnects and leaves no timer behind. Idempotent. What the broker has not acknowledged is rejected with `closed`;
   * in a queue on disk it stays, and goes out when the device is opened again.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#children.close();
    const ends = [
      this.#mqttClient.close(),
      this.#identityManager.close(),
      this.#commands.close(),
      this.#clock.persist(),
    ];
    await Promise.allSettled(ends);
    this.#statePublisher.setState('closed', undefined, 'closed');
  }

  async #publish(
    topic: () => string,
    parser: Parser | undefined,
    payload: unknown,
    options: PublishOptions & Pick<NewMessage, 'priority' | 'retain'> & { readonly reply?: ReplyProperties },
  ): Promise<Receipt> {
    if (this.state === 'revoked') throw this.lastError;
    let message: NewMessage;
    try {
      const checked = parsed(parser, payload, 'the payload') as Payload;
      const { qos = 1, priority, retain, reply } = options;
      const given = messageProperties(options);
      const properties = reply === undefined ? given : { ...given, ...reply };
      message = {
        topic: topic(),
        payload: encodePayload(checked),
        qos,
        ...withoutUndefined({ properties, priority, retain }),
      };
    } catch (error) {
      throw asDeviceError(error, 'request_invalid');
    }
    return this.#mqttClient.publish(message);
  }

  #report(payload: Payload): Promise<Receipt> {
    return this.#publish(() => twinTopic(this.id, 'reported'), undefined, payload, { retain: true });
  }

  async #respond(requestId: string, payload: Payload, requested: RequestedReply | undefined): Promise<void> {
    const { topic, properties } = replyTo(requested, this.id, requestId);
    await this.#publish(() => topic, undefined, payload, {
      priority: 'high',
      ...withoutUndefined({ reply: properties }),
    });
  }

  #listen(name: string, handler: CommandHandler, options: CommandOptions): void {
    this.#commands.register(name, handler, options);
    this.#mqttClient.subscribe(commandFilter(this.id));
  }

  #hear(name: string, handler: BroadcastHandler): void {
    this.#broadcasts.register(name, handler);
    this.#mqttClient.subscribe(broadcastFilter(this.#group));
  }
}
