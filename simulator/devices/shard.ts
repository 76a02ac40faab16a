import { DEFAULT_GROUP } from '@rollcall/protocol';
import { type FaultyProxy, startFaultyProxy } from '../faults/faulty-proxy.ts';
import { type HostileContext, tryHostileAction } from '../faults/hostile.ts';
import { parseRecording, type Recording } from '../scenario/recording.ts';
import { seededRandom } from '../seeded-random.ts';
import { Counters } from './counters.ts';
import type { DeviceReport } from './device-report.ts';
import { EnrollmentPacer } from './enrollment-pacer.ts';
import { EstClient, newKey } from './est-client.ts';
import { LightDevice } from './light-device.ts';
import { SdkDevice } from './sdk-device.ts';
import type { GroupContext, SdkSettings, ShardContext, SimulatedDevice } from './shard-context.ts';
import type { DeviceCounts, FromShard, ShardAction, ShardConfig, ShardDevice, ToShard } from './shard-messages.ts';
import { preciseNow, TimerWheel } from './timer-wheel.ts';
import { TlsConnector, type TlsIdentity, type TlsTarget } from './tls-connections.ts';

const REPORT_EVERY_MS = 1_000;
/** Requests for certificates at one time. */
const ENROLLING_AT_ONCE = 8;
const NO_FAULTS = { latency: 0, jitter: 0, loss: 0, bandwidth: undefined, halfOpen: 0, resetHandshake: 0 } as const;

export class Shard {
  readonly #config: ShardConfig;
  readonly #tell: (message: FromShard) => void;
  readonly #counters = new Counters();
  readonly #context: ShardContext;
  readonly #timers: TimerWheel;
  readonly #estClient: EstClient | undefined;
  readonly #proxies = new Map<string, FaultyProxy>();
  readonly #devices = new Map<number, SimulatedDevice>();
  readonly #arrivals: readonly ShardDevice[];
  #report: NodeJS.Timeout | undefined;
  #cpu = process.threadCpuUsage();
  readonly #pacer: EnrollmentPacer;

  private constructor(config: ShardConfig, tell: (message: FromShard) => void, sdk: SdkSettings) {
    this.#config = config;
    this.#tell = tell;
    const now = () => preciseNow() - config.clockOffset;
    this.#timers = new TimerWheel((late) => this.#counters.record('lag', late), now);
    this.#estClient =
      config.enrollUrl === undefined
        ? undefined
        : new EstClient({ enrollUrl: config.enrollUrl, rootPem: config.rootPem }, ENROLLING_AT_ONCE);
    this.#pacer = new EnrollmentPacer({ atOnce: ENROLLING_AT_ONCE, now, timers: this.#timers });
    this.#context = {
      pacer: this.#pacer,
      timers: this.#timers,
      counters: this.#counters,
      connector: new TlsConnector(config.broker.rootPem, config.broker.clientChain),
      names: config.broker.names,
      now,
      serverReturnedAt: 0,
      isRunOver: false,
      sdk,
    };
    this.#arrivals = config.devices;
  }

  static async open(config: ShardConfig, tell: (message: FromShard) => void, sdk: SdkSettings): Promise<Shard> {
    const shard = new Shard(config, tell, sdk);
    await shard.#prepare();
    return shard;
  }

  async #prepare(): Promise<void> {
    for (const [name, { settings, token, recordings, faults }] of Object.entries(this.#config.groups)) {
      const proxy = await this.#openProxy(settings);
      if (proxy !== undefined) this.#proxies.set(name, proxy);
      const group: GroupContext = {
        name,
        settings,
        token,
        estClient: this.#estClient,
        target: () => this.#targetOf(name),
        recordings: recordingsOf(settings, recordings),
        faults,
      };
      const keys = settings.keys === 'own' ? undefined : Array.from({ length: settings.keys.pool }, newKey);
      for (const device of this.#arrivals.filter((candidate) => candidate.group === name)) {
        this.#devices.set(device.index, this.#makeDevice(device, group, keys));
      }
    }
  }

  async #openProxy({ network }: GroupContext['settings']): Promise<FaultyProxy | undefined> {
    const { mqtt, seed, shard } = this.#config;
    if (mqtt === undefined) return undefined;
    return startFaultyProxy({ target: mqtt, conditions: network ?? NO_FAULTS, random: seededRandom(seed + shard) });
  }

  #targetOf(group: string): TlsTarget {
    const proxy = this.#proxies.get(group);
    if (proxy === undefined || !proxy.isFaulty) return this.#broker;
    return { ...proxy.target, servername: this.#broker.servername ?? this.#broker.host };
  }

  get #broker(): TlsTarget {
    if (this.#config.mqtt === undefined) throw new Error('expected the address of the broker');
    return this.#config.mqtt;
  }

  #makeDevice(
    device: ShardDevice,
    group: GroupContext,
    keys: ReturnType<typeof newKey>[] | undefined,
  ): SimulatedDevice {
    const seed = this.#config.seed * 1_000_003 + device.index;
    // In turn within the shard: indices are dealt out to shards, so that by index a shard could have one address for all.
    const { sourceAddresses } = this.#config;
    const sourceAddress = sourceAddresses[(this.#devices.size + this.#config.shard) % sourceAddresses.length];
    const place = { index: device.index, position: device.position, id: device.id, group };
    if (group.settings.kind === 'sdk') {
      return new SdkDevice(
        { ...place, seed, version: device.mqtt, mqttUrl: this.#mqttUrl(group), turn: (act) => this.#pacer.turn(act) },
        this.#context,
      );
    }
    return new LightDevice(
      {
        ...place,
        seed,
        version: device.mqtt ?? 4,
        identity: device.identity,
        sourceAddress,
        makeKey: () => keys?.[device.index % keys.length] ?? newKey(),
        enroll: (act) =>
          this.#pacer.turn(() => {
            if (this.#estClient === undefined)
              throw new Error('expected an enroll server, or identities that were kept');
            return act(this.#estClient);
          }),
      },
      this.#context,
    );
  }

  #mqttUrl(group: GroupContext): string | undefined {
    if (group.settings.network === undefined) return undefined;
    const { host, port } = group.target();
    return `mqtts://${host === '127.0.0.1' ? 'localhost' : host}:${port}`;
  }

  /** Of the devices of the SDK. */
  reports(): readonly DeviceReport[] {
    return [...this.#devices.values()].flatMap((device) => (device instanceof SdkDevice ? [device.report()] : []));
  }

  handle(message: ToShard): void {
    switch (message.kind) {
      case 'prepare':
        return;
      case 'start':
        this.#start(message.at);
        return;
      case 'action':
        this.#apply(message.action).then(
          () => this.#tell({ kind: 'action-done', id: message.id }),
          (error: Error) => this.#tell({ kind: 'action-done', id: message.id, error: error.message }),
        );
        return;
      case 'stop-publishing':
        this.#context.isRunOver = true;
        for (const device of this.#devices.values()) device.stopPublishing();
        return;
      case 'end':
        void this.#end();
    }
  }

  #start(at: number): void {
    for (const { index, arrivesAt } of this.#arrivals) {
      this.#timers.at(at + arrivesAt, () => {
        if (!this.#context.isRunOver) this.#devices.get(index)?.start();
      });
    }
    this.#report = setInterval(() => this.#second(), REPORT_EVERY_MS);
  }

  #second(): void {
    const { user, system } = process.threadCpuUsage(this.#cpu);
    this.#cpu = process.threadCpuUsage();
    this.#tell({
      kind: 'second',
      counters: this.#counters.take(),
      deviceCounts: this.#deviceCounts(),
      cpuMicros: user + system,
    });
  }

  #deviceCounts(): DeviceCounts {
    const deviceCounts = { connected: 0, inFleet: 0, refused: 0, connectionRefused: 0, waiting: 0, unacknowledged: 0 };
    for (const device of this.#devices.values()) {
      if (device.isConnected) deviceCounts.connected += 1;
      if (device.outcome === 'in') deviceCounts.inFleet += 1;
      else if (device.outcome === 'refused') deviceCounts.refused += 1;
      else if (device.outcome === 'connection refused') deviceCounts.connectionRefused += 1;
      else deviceCounts.waiting += 1;
      deviceCounts.unacknowledged += device.unacknowledged;
    }
    return deviceCounts;
  }

  async #apply(action: ShardAction): Promise<void> {
    switch (action.kind) {
      case 'server-returned':
        this.#context.serverReturnedAt = action.at;
        return;
      case 'network':
        for (const [name, proxy] of this.#proxies) {
          if (action.group === undefined || action.group === name) {
            proxy.change(action.conditions ?? this.#config.groups[name]?.settings.network ?? NO_FAULTS);
          }
        }
        return;
      case 'revoking':
        for (const device of this.#chosen(action.devices)) device.expectRevocation(action.at);
        return;
      case 'cut':
        for (const device of this.#chosen(action.devices)) device.cutConnection(action.for);
        return;
      case 'power':
        for (const device of this.#chosen(action.devices)) device.losePower(action.for);
        return;
      case 'renew':
        await Promise.all(this.#chosen(action.devices).map((device) => device.renew()));
        return;
      case 'hostile': {
        if (action.count > 0 && this.#config.shard !== 0) return; // what is counted is tried by one shard
        const victims = this.#chosen(action.devices).flatMap((device) => {
          const identity = device instanceof LightDevice ? device.identity : undefined;
          return identity === undefined ? [] : [{ id: device.id, identity }];
        });
        await tryHostileAction(action.action, victims, action.count, this.#hostileCrew(action.until));
      }
    }
  }

  #hostileCrew(until: number): HostileContext {
    const token = Object.values(this.#config.groups).find((group) => group.token !== undefined)?.token;
    return {
      counters: this.#counters,
      connector: this.#context.connector,
      mqtt: this.#broker,
      estClient: this.#estClient,
      token,
      group: DEFAULT_GROUP,
      timers: this.#timers,
      until,
    };
  }

  #chosen(indices: readonly number[]): readonly SimulatedDevice[] {
    return indices.flatMap((index) => this.#devices.get(index) ?? []);
  }

  async #end(): Promise<void> {
    clearInterval(this.#report);
    this.#second();
    const acknowledged: Record<string, readonly number[]> = {};
    const identities: Record<string, TlsIdentity> = {};
    for (const device of this.#devices.values()) {
      for (const [stream, ranges] of Object.entries(device.acknowledged())) {
        acknowledged[`${device.id} ${stream}`] = ranges;
      }
      if (this.#config.identities === 'dropped' || !(device instanceof LightDevice)) continue;
      if (device.identity !== undefined) identities[device.id] = device.identity;
    }
    await Promise.all([...this.#devices.values()].map((device) => device.close()));
    this.#timers.close();
    this.#estClient?.close();
    for (const proxy of this.#proxies.values()) proxy.close();
    this.#tell({ kind: 'ended', counters: this.#counters.take(), acknowledged, identities });
  }
}

function recordingsOf(
  settings: GroupContext['settings'],
  texts: Readonly<Record<string, string>>,
): ReadonlyMap<string, Recording> {
  return new Map(
    settings.publish.flatMap(({ stream, model }) =>
      model.kind === 'replay' ? [[stream, parseRecording(texts[stream] ?? '', model)] as const] : [],
    ),
  );
}
