import { type IdentityStore, memoryIdentityStore } from '@rollcall/device-sdk';
import { TRUST_EVENTS } from '@rollcall/device-sdk/building-blocks';
import { SdkFleet } from '../run/sdk-fleet.ts';
import { countMissing, readJournal } from '../run/verification.ts';
import { waitUntil } from '../wait-until.ts';
import {
  type CaSummary,
  DRILL_GROUP,
  type DrillOptions,
  type DrillReport,
  type DrillStage,
  type ReplacedRole,
  type Theft,
  type TrustChange,
} from './drill-options.ts';
import { MishapDevices, tokenUsesFor } from './mishap-devices.ts';
import { loadIdentities, testStolenKey } from './stolen-key.ts';
import { crossSignedUntil } from './trusted-roots.ts';

/** Of names that a fleet is unlikely to have. */
const PREFIX = DRILL_GROUP;
const ARRIVING_MS = 60_000;
const ANSWER_MS = 15_000;
/** After the last window: a device that missed its own still has half a minute. */
const SLACK_MS = 60_000;

/** Throws the reason of `signal`, and errors of the server's listeners. */
export function drillCaCompromise(options: DrillOptions): Promise<DrillReport> {
  return new Drill(options).run();
}

class Drill {
  readonly #options: DrillOptions;
  readonly #stages: DrillStage[] = [];
  readonly #failures: string[] = [];
  #enrolledPerSecond = 0;
  #renewedPerSecond = 0;
  #renewed = 0;
  /** Roots that devices of the fleet began to trust, and let go. */
  #learned = 0;
  #dropped = 0;
  #trust: TrustChange | undefined;
  #theft: Theft = { aware: { tempted: 0, captured: 0 }, unaware: { tempted: 0, believed: 0, captured: 0 } };

  constructor(options: DrillOptions) {
    this.#options = options;
  }

  async run(): Promise<DrillReport> {
    const { operator, devices, haste, mqttUrl, replaced, signal, now } = this.#options;
    const token = await operator.createToken(devices + tokenUsesFor(replaced));
    const log = { debug() {}, info: (fields: object) => this.#logged(fields), warn() {} };
    const stores = Array.from({ length: devices }, () => memoryIdentityStore());
    const storeOf = (index: number) => stores[index] as IdentityStore;
    const fleet = await SdkFleet.start({ storeOf, devices, token, rate: 1, idPrefix: PREFIX, haste, mqttUrl, log });
    const failed = (failure: string) => this.#failures.push(failure);
    const others = new MishapDevices({ operator, replaced, token, haste, signal, failed });
    try {
      await this.#stage('enroll', () => this.#enroll(fleet));
      await others.arrive();
      await this.#stage('speak', () => this.#everyoneIsHeard(fleet));

      const old = await this.#active('issuing');
      const oldRoot = await this.#active('root');
      if (replaced === 'root') await this.#introduceRoot(others);
      const fresh = await this.#prepare('issuing', others, 'prepare');
      await this.#stage('activate', async () => [await operator.activate(fresh), 'signs from now on'] as const);
      await others.unpack();
      await this.#stage('taint', () => this.#taint(old));
      // Without those that can't renew, and those of the fleet itself, who are not here.
      const staying = old.stranded - devices - others.renewing;
      await this.#stage('renew', () => this.#renew(fleet, old.id, staying, others));
      await this.#stage('retire', () => this.#retire(old.id));
      if (replaced === 'root') await this.#stage('retire the root', () => this.#retireRoot(oldRoot.id));
      this.#theft = await this.#stage('steal the old key', async () => {
        const aware = [...(await loadIdentities(stores)), ...(await others.aware())];
        const parties = { aware, unaware: others.unaware };
        return testStolenKey(await operator.readIssuingCa(old.id), parties, { failures: this.#failures, signal, now });
      });
      await this.#stage('verify', async () => {
        await this.#everyoneIsHeard(fleet);
        this.#expect('devices that are connected after it', devices, fleet.snapshot().byState.connected);
        await others.verify();
        const { mishaps } = others;
        return [
          undefined,
          `${mishaps.filter(({ found }) => found === 'lost').length} lost of ${mishaps.length} mishaps`,
        ];
      });
    } finally {
      await Promise.all([fleet.stop(), others.close()]);
    }
    signal.throwIfAborted();
    return this.#report(fleet, others);
  }

  #logged(fields: object): void {
    const { event, added, dropped } = fields as { event?: unknown; added: number; dropped: number };
    if (event !== TRUST_EVENTS.changed) return;
    this.#learned += added;
    this.#dropped += dropped;
  }

  /** Before anything is signed by it: what devices trust must be there before what they are shown. */
  async #introduceRoot(others: MishapDevices): Promise<void> {
    const { devices, signal, now } = this.#options;
    const began = now();
    await this.#prepare('root', others, 'prepare the root');
    await this.#stage('devices learn the root', async () => {
      await waitUntil(() => this.#learned >= devices, { within: ANSWER_MS, signal, every: 10 });
      this.#expect('devices that have the new root on record', devices, this.#learned);
      return [undefined, `${this.#learned} of ${devices}`];
    });
    const end = crossSignedUntil(others.bundle);
    if (end === undefined)
      this.#failures.push('expected the old root to vouch for the new one, found that it does not');
    else this.#trust = { learnedMs: now() - began, vouchedUntil: end };
  }

  async #prepare(role: ReplacedRole, others: MishapDevices, stage: string): Promise<string> {
    const { bundle } = others;
    const id = await this.#stage(stage, async () => {
      return [await this.#options.operator.prepare(role), 'trusted, signs nothing'] as const;
    });
    await this.#stage('deliver the trust bundle', () => this.#delivered(others, bundle));
    return id;
  }

  async #enroll(fleet: SdkFleet): Promise<readonly [undefined, string]> {
    const { devices, signal, now } = this.#options;
    const began = now();
    await Promise.race([fleet.enrolled, aborted(signal)]);
    const took = Math.max(now() - began, 1);
    await waitUntil(() => fleet.snapshot().byState.connected === devices, { within: ARRIVING_MS, signal });
    const { enrolled, byState } = fleet.snapshot();
    this.#expect('devices that enrolled', devices, enrolled);
    this.#expect('devices that are connected', devices, byState.connected);
    this.#enrolledPerSecond = enrolled / (took / 1_000);
    return [undefined, `${enrolled} devices, ${this.#enrolledPerSecond.toFixed(1)} a second`];
  }

  /** Each device has an answer to something that it said from now on. */
  async #everyoneIsHeard(fleet: SdkFleet): Promise<readonly [undefined, string]> {
    const before = fleet.devices().map(({ acknowledged }) => acknowledged);
    const heard = () => fleet.devices().filter(({ acknowledged, index }) => acknowledged > (before[index] ?? 0)).length;
    await waitUntil(() => heard() === this.#options.devices, { within: ANSWER_MS, signal: this.#options.signal });
    this.#expect('devices whose messages are acknowledged', this.#options.devices, heard());
    return [undefined, `${heard()} devices are heard`];
  }

  async #active(role: ReplacedRole): Promise<CaSummary> {
    const found = (await this.#options.operator.cas()).find((ca) => ca.role === role && ca.state === 'active');
    if (found === undefined) throw new Error(`expected a CA (${role}) that is active`);
    return found;
  }

  async #delivered(others: MishapDevices, before: string): Promise<readonly [undefined, string]> {
    const isThere = await waitUntil(() => others.bundle !== before, {
      within: ANSWER_MS,
      signal: this.#options.signal,
      every: 10,
    });
    if (!isThere) this.#failures.push('expected the trust bundle with the new CA to be delivered, found nothing new');
    return [undefined, isThere ? 'to devices that are connected' : 'it did not come'];
  }

  async #taint(old: CaSummary): Promise<readonly [undefined, string]> {
    const { pulled } = await this.#options.operator.taint(old.id, this.#options.withinMs);
    return [undefined, `${pulled} devices are asked to renew`];
  }

  async #renew(
    fleet: SdkFleet,
    oldId: string,
    staying: number,
    others: MishapDevices,
  ): Promise<readonly [undefined, string]> {
    const { operator, devices, signal, now, onProgress } = this.#options;
    const began = now();
    const { until: windowsEnd } = await operator.requestRenewals();
    const all = devices + others.renewing;
    const deadline = Date.parse(windowsEnd) - now() + SLACK_MS;
    let first: number | undefined;
    let told = began;
    let isBack = false;
    const look = async (): Promise<boolean> => {
      const cas = await operator.cas();
      const waiting = (cas.find(({ id }) => id === oldId)?.stranded ?? 0) - staying;
      this.#renewed = all - waiting;
      if (this.#renewed > 0) first ??= now();
      if (!isBack && this.#renewed >= all / 2) {
        isBack = true;
        await others.comeBack();
      }
      if (now() - told >= 2_000) {
        told = now();
        onProgress(`${this.#renewed} of ${all} renewed, ${fleet.snapshot().byState.connected} of ${devices} connected`);
      }
      return waiting <= 0;
    };
    await waitUntil(look, { within: deadline, signal, every: 250 });
    this.#expect('devices that renewed', all, this.#renewed);
    this.#renewedPerSecond = this.#renewed / (Math.max(now() - (first ?? began), 1_000) / 1_000);
    return [undefined, `${this.#renewed} of ${all} devices, ${this.#renewedPerSecond.toFixed(1)} a second`];
  }

  async #retire(id: string): Promise<readonly [undefined, string]> {
    const { operator } = this.#options;
    // Some devices are left behind on purpose: the server must refuse to retire their CA without a confirmation.
    if ((await operator.retire(id, 0)) === 'retired') {
      this.#failures.push('expected a CA that would strand devices to be kept, found it retired without a word');
      return [undefined, 'without the refusal that was expected'];
    }
    const stranded = (await operator.cas()).find((ca) => ca.id === id)?.stranded ?? 0;
    if ((await operator.retire(id, stranded)) !== 'retired') {
      this.#failures.push(`expected a CA to be retired when ${stranded} are given up, found it kept`);
    }
    return [undefined, `refused at first; then ${stranded} were given up`];
  }

  /** Devices drop the old root when the next bundle leaves it out. */
  async #retireRoot(id: string): Promise<readonly [undefined, string]> {
    const { devices, signal } = this.#options;
    const [, said] = await this.#retire(id);
    await waitUntil(() => this.#dropped >= devices, { within: ANSWER_MS, signal, every: 10 });
    this.#expect('devices that trust the new root alone', devices, this.#dropped);
    return [undefined, said];
  }

  async #report(fleet: SdkFleet, { mishaps }: MishapDevices): Promise<DrillReport> {
    const { operator, devices, replaced } = this.#options;
    const { sent, acknowledged, errors, failed } = fleet.snapshot();
    const sessionsDropped = (errors.connection_lost ?? 0) + (errors.connection_refused ?? 0);
    const journal = await readJournal(operator.messages(), () => true);
    const lost = countMissing(fleet.acknowledged, journal.seen);
    this.#expect('sessions dropped', 0, sessionsDropped);
    this.#expect('acknowledged messages that the journal lacks', 0, lost);
    this.#expect('messages that failed', 0, failed);
    return {
      replaced,
      verdict: this.#failures.length === 0 ? 'passed' : 'failed',
      failures: this.#failures,
      stages: this.#stages,
      devices,
      enrolledPerSecond: this.#enrolledPerSecond,
      renewedPerSecond: this.#renewedPerSecond,
      renewed: this.#renewed,
      sessionsDropped,
      messages: { sent, acknowledged, lost },
      mishaps,
      theft: this.#theft,
      ...(this.#trust !== undefined && { trust: this.#trust }),
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
