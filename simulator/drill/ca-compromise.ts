/**
 * The day on which an issuing CA can't be trusted any more, rehearsed from start to end: a fleet of true devices is let in
 * and speaks, the CA is replaced under it, and what became of every device and message is counted. A few more devices go
 * through what happens to some of a real fleet: away for a while or for too long, a clock that is wrong, a client that
 * never renews. It drills the server behind its doors, whichever that is, and changes it for good.
 */

import { type FleetRun, runFleet } from '../fleet.ts';
import { type CaSight, DRILL_GROUP, type DrillOptions, type DrillReport, type Mishap, type Stage } from './doors.ts';
import { Listener } from './listener.ts';
import { Probe } from './probe.ts';
import { lostMessages } from './stored-messages.ts';
import { until } from './until.ts';

/** Of names that a fleet is unlikely to have. */
const PREFIX = DRILL_GROUP;
/** Those that are sent through mishaps. */
const PROBES = 5;
const YEAR_MS = 365 * 24 * 3_600_000;
const SKEW_MS = 10 * YEAR_MS;
const ARRIVING_MS = 60_000;
const ANSWER_MS = 15_000;
/** After the last window: a device that missed its own still has half a minute. */
const SLACK_MS = 60_000;
const SILENT = { debug() {}, info() {}, warn() {} };

/** Throws the reason of `signal`, and what the doors throw. */
export function drillCaCompromise(options: DrillOptions): Promise<DrillReport> {
  return new Drill(options).run();
}

class Drill {
  readonly #options: DrillOptions;
  readonly #stages: Stage[] = [];
  readonly #failures: string[] = [];
  readonly #mishaps: Mishap[] = [];
  readonly #probes: Probe[] = [];
  #enrolledPerSecond = 0;
  #renewedPerSecond = 0;
  #renewed = 0;

  constructor(options: DrillOptions) {
    this.#options = options;
  }

  async run(): Promise<DrillReport> {
    const { door, devices, haste, mqttUrl, signal, now } = this.#options;
    const token = await door.mintToken(devices + PROBES);
    const fleet = runFleet({ devices, token, rate: 1, idPrefix: PREFIX, haste, mqttUrl, log: SILENT, now });
    let listener: Listener | undefined;
    try {
      await this.#stage('enroll', () => this.#enroll(fleet));
      const probe = (name: string, skew = 0) => this.#probe(name, token, skew);
      const away = await probe('away');
      const left = await probe('left');
      const slow = await probe('slow', -SKEW_MS);
      const fast = await probe('fast', SKEW_MS);
      listener = await this.#listen(await probe('unrenewed'));
      await Promise.all([away.leave(), left.leave()]);
      await this.#stage('speak', () => this.#everyoneIsHeard(fleet));

      const old = await this.#activeIssuing();
      const before = { away: await away.issuer(), bundle: listener.bundle };
      const fresh = await this.#stage('prepare', async () => [await door.prepare(), 'trusted, signs nothing'] as const);
      await this.#stage('deliver the trust bundle', () => this.#delivered(listener as Listener, before.bundle));
      await this.#stage('activate', async () => [await door.activate(fresh), 'signs from now on'] as const);
      await this.#stage('taint', () => this.#taint(old));
      // Without those that can't renew, and those of the fleet itself, who are not here.
      const staying = old.stranded - devices - PROBES + 2;
      await this.#stage('renew', () => this.#renew(fleet, old.id, staying, away));
      await this.#stage('retire', () => this.#retire(old.id, staying));
      await this.#stage('verify', async () => {
        await this.#verify(fleet, { away, left, slow, fast, listener: listener as Listener }, before.away);
        return [undefined, `${this.#mishaps.filter(({ found }) => found === 'lost').length} lost of ${PROBES} mishaps`];
      });
    } finally {
      listener?.close();
      await Promise.all([fleet.stop(), ...this.#probes.map((each) => each.leave())]);
    }
    signal.throwIfAborted();
    return this.#report(fleet);
  }

  async #enroll(fleet: FleetRun): Promise<readonly [undefined, string]> {
    const { devices, signal, now } = this.#options;
    const began = now();
    await Promise.race([fleet.enrolled, aborted(signal)]);
    const took = Math.max(now() - began, 1);
    await until(() => fleet.snapshot().byState.connected === devices, ARRIVING_MS, signal);
    const { enrolled, byState } = fleet.snapshot();
    this.#expect('devices that enrolled', devices, enrolled);
    this.#expect('devices that are connected', devices, byState.connected);
    this.#enrolledPerSecond = enrolled / (took / 1_000);
    return [undefined, `${enrolled} devices, ${this.#enrolledPerSecond.toFixed(1)} a second`];
  }

  async #probe(name: string, token: string, skew: number): Promise<Probe> {
    const { haste, signal } = this.#options;
    const probe = new Probe({ id: `${PREFIX}-${name}`, token, skew, haste, signal });
    this.#probes.push(probe);
    if (!(await probe.arrive())) this.#failures.push(`expected ${name} to be let in, found ${probe.said}`);
    return probe;
  }

  /** Goes on as a raw client with what the SDK enrolled. */
  async #listen(probe: Probe): Promise<Listener> {
    const identity = await probe.identity;
    await probe.leave();
    if (identity === undefined) throw new Error('expected a device that is enrolled');
    const { keyPem, certificatePem, rootPem, deviceId, mqttUrl } = identity;
    const leaf = certificatePem.slice(0, certificatePem.indexOf('-----END') + 25);
    const listener = new Listener({ id: deviceId, mqttUrl, keyPem, certificatePem: leaf, rootPem });
    if (!(await listener.open())) this.#failures.push('expected a raw client to be let in, found it refused');
    // The retained one: what comes after it is new.
    const isThere = await until(() => listener.bundle !== '', ANSWER_MS, this.#options.signal);
    if (!isThere) this.#failures.push('expected a trust bundle to be kept for whoever subscribes, found none');
    return listener;
  }

  /** Each device has an answer to something that it said from now on. */
  async #everyoneIsHeard(fleet: FleetRun): Promise<readonly [undefined, string]> {
    const before = fleet.devices().map(({ acknowledged }) => acknowledged);
    const heard = () => fleet.devices().filter(({ acknowledged, index }) => acknowledged > (before[index] ?? 0)).length;
    await until(() => heard() === this.#options.devices, ANSWER_MS, this.#options.signal);
    this.#expect('devices whose messages are acknowledged', this.#options.devices, heard());
    return [undefined, `${heard()} devices are heard`];
  }

  async #activeIssuing(): Promise<CaSight> {
    const found = (await this.#options.door.cas()).find(({ role, state }) => role === 'issuing' && state === 'active');
    if (found === undefined) throw new Error('expected an issuing CA that is active');
    return found;
  }

  async #delivered(listener: Listener, before: string): Promise<readonly [undefined, string]> {
    const isThere = await until(() => listener.bundle !== before, ANSWER_MS, this.#options.signal, 10);
    if (!isThere) this.#failures.push('expected the trust bundle with the new CA to be delivered, found nothing new');
    return [undefined, isThere ? 'to devices that are connected' : 'it did not come'];
  }

  async #taint(old: CaSight): Promise<readonly [undefined, string]> {
    const { pulled } = await this.#options.door.taint(old.id, this.#options.withinMs);
    return [undefined, `${pulled} devices are asked to renew`];
  }

  async #renew(fleet: FleetRun, oldId: string, staying: number, away: Probe): Promise<readonly [undefined, string]> {
    const { door, devices, signal, now, onProgress } = this.#options;
    const began = now();
    const { until: windowsEnd } = await door.pull();
    const all = devices + PROBES - 2;
    const deadline = Date.parse(windowsEnd) - now() + SLACK_MS;
    let first: number | undefined;
    let told = began;
    let isBack = false;
    const look = async (): Promise<boolean> => {
      const cas = await door.cas();
      const waiting = (cas.find(({ id }) => id === oldId)?.stranded ?? 0) - staying;
      this.#renewed = all - waiting;
      if (this.#renewed > 0) first ??= now();
      if (!isBack && this.#renewed >= all / 2) {
        isBack = true;
        if (!(await away.arrive())) this.#failures.push(`expected who was away to come back, found ${away.said}`);
      }
      if (now() - told >= 2_000) {
        told = now();
        onProgress(`${this.#renewed} of ${all} renewed, ${fleet.snapshot().byState.connected} of ${devices} connected`);
      }
      return waiting <= 0;
    };
    await until(look, deadline, signal, 250);
    this.#expect('devices that renewed', all, this.#renewed);
    this.#renewedPerSecond = this.#renewed / (Math.max(now() - (first ?? began), 1_000) / 1_000);
    return [undefined, `${this.#renewed} of ${all} devices, ${this.#renewedPerSecond.toFixed(1)} a second`];
  }

  async #retire(id: string, staying: number): Promise<readonly [undefined, string]> {
    const { door } = this.#options;
    // Some are left on purpose: whoever retires a CA under them must be told.
    if ((await door.retire(id, 0)) === 'retired') {
      this.#failures.push('expected a CA that would strand devices to be kept, found it retired without a word');
      return [undefined, 'without the refusal that was expected'];
    }
    const stranded = (await door.cas()).find((ca) => ca.id === id)?.stranded ?? staying;
    await door.retire(id, stranded);
    return [undefined, `refused at first; then ${stranded} were given up`];
  }

  async #verify(
    fleet: FleetRun,
    {
      away,
      left,
      slow,
      fast,
      listener,
    }: {
      readonly away: Probe;
      readonly left: Probe;
      readonly slow: Probe;
      readonly fast: Probe;
      readonly listener: Listener;
    },
    oldIssuer: string | undefined,
  ): Promise<void> {
    const { door, devices, signal } = this.#options;
    await this.#everyoneIsHeard(fleet);
    this.#expect('devices that are connected after it', devices, fleet.snapshot().byState.connected);

    const hasEnded = await until(() => !listener.isConnected, ANSWER_MS, signal);
    const isLetIn = hasEnded && (await listener.open());
    this.#mishap('unrenewed', 'stayed connected and never renewed', 'lost', hasEnded && !isLetIn, [
      'its session was ended, and it was refused',
      hasEnded ? 'it was let in again' : 'its session goes on',
    ]);

    const isKept = await left.arrive();
    const said = left.said;
    const isBack = !isKept && (await left.enrollAgain(await door.mintTokenFor(left.id)));
    this.#mishap('left', 'offline from before it began until after it ended', 'lost', !isKept, [
      `${said}; ${isBack ? 'a token minted for it brought it back' : 'a token minted for it did not bring it back'}`,
      'it was let in with its old certificate',
    ]);
    if (!isKept && !isBack)
      this.#failures.push(`expected a token minted for it to bring back who was lost, found ${left.said}`);

    const isWell = async (probe: Probe) => probe.isConnected && (await probe.issuer()) !== oldIssuer;
    const kept = ['it renewed and is connected', 'it has its old certificate, or none that counts'] as const;
    this.#mishap('away', 'offline until half of the fleet had renewed', 'kept', await isWell(away), kept);
    this.#mishap('clock slow', "the SDK's clock ten years behind", 'kept', await isWell(slow), kept);
    this.#mishap('clock fast', "the SDK's clock ten years ahead", 'kept', await isWell(fast), kept);
  }

  #mishap(
    name: Mishap['name'],
    about: string,
    expected: Mishap['expected'],
    isAsExpected: boolean,
    [good, bad]: readonly [string, string],
  ): void {
    const other = expected === 'kept' ? 'lost' : 'kept';
    const found = isAsExpected ? expected : other;
    this.#mishaps.push({ name, about, expected, found, said: isAsExpected ? good : bad });
    if (!isAsExpected) this.#failures.push(`expected who was ${name} to be ${expected}, found: ${bad}`);
  }

  async #report(fleet: FleetRun): Promise<DrillReport> {
    const { door, devices } = this.#options;
    const { sent, acknowledged, errors, failed } = fleet.snapshot();
    const sessionsDropped = (errors.connection_lost ?? 0) + (errors.connection_refused ?? 0);
    const lost = await lostMessages(fleet.devices(), door.messages());
    this.#expect('sessions dropped', 0, sessionsDropped);
    this.#expect('acknowledged messages that the journal lacks', 0, lost);
    this.#expect('messages that failed', 0, failed);
    return {
      verdict: this.#failures.length === 0 ? 'passed' : 'failed',
      failures: this.#failures,
      stages: this.#stages,
      devices,
      enrolledPerSecond: this.#enrolledPerSecond,
      renewedPerSecond: this.#renewedPerSecond,
      renewed: this.#renewed,
      sessionsDropped,
      messages: { sent, acknowledged, lost },
      mishaps: this.#mishaps,
    };
  }

  #expect(what: string, expected: number, found: number): void {
    if (found !== expected) this.#failures.push(`${what}: expected ${expected}, found ${found}`);
  }

  async #stage<T>(name: string, work: () => Promise<readonly [T, string]>): Promise<T> {
    const { signal, onStage, now } = this.#options;
    signal.throwIfAborted();
    const began = now();
    const [result, said] = await work();
    const stage = { name, ms: now() - began, said };
    this.#stages.push(stage);
    onStage(stage);
    return result;
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}
