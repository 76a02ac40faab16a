/**
 * When devices and services of a fleet renew: the window of each certificate, windows that an operator pulls forward for a group
 * or for every certificate of one CA, and counts of what is due. Issues nothing; its holders renew on their own. Devices receive a
 * notice; services ask for their window.
 */

import type { DeviceId, GroupName, RenewalNotice } from '@rollcall/protocol';
import type { Logger } from 'pino';
import {
  type Actor,
  type CurrentCertificate,
  type GroupProfile,
  type GroupProfileStore,
  type PulledWindow,
  performAnnouncedAction,
  type Registry,
  type RenewalWindowStore,
} from '../../registry/index.ts';
import {
  type CertificateValidity,
  effectiveWindow,
  type RenewalWindow,
  renewalNotice,
  scheduledWindow,
  serialPosition,
} from './renewal-windows.ts';

export interface PullRequest {
  /** Undefined: every group, and services. */
  readonly group?: GroupName | undefined;
  /** Only the certificates of this CA. */
  readonly issuerId?: string | undefined;
  /** Milliseconds in which all of them have to renew; longer when the budget requires it. */
  readonly withinMs: number;
  readonly reason: PulledWindow['reason'];
  readonly actor: Actor;
}

export interface PullResult {
  /** Devices whose window is earlier than it was. */
  readonly pulled: number;
  /** Certificates of services whose window is earlier than it was. */
  readonly services: number;
  /** When the last window ends, milliseconds since the epoch. */
  readonly until: number;
  /** The resulting renewals per second. */
  readonly perSecond: number;
}

export interface RenewalStatus {
  readonly devices: number;
  /** Windows that are open. */
  readonly due: number;
  /** Windows that have ended. */
  readonly late: number;
  /** Windows that were pulled forward and whose devices have not renewed yet. */
  readonly pulled: number;
  readonly endingIn7Days: number;
  readonly endingIn30Days: number;
  /** Renewals per second: the budget, and the expected rate of the next hour. */
  readonly budgetPerSecond: number;
  readonly nextHourPerSecond: number;
}

export interface RenewalSchedule {
  /** `group`: the group of the holder; undefined for a service. */
  window(validity: CertificateValidity, group?: GroupName): Promise<RenewalWindow>;
  pull(order: PullRequest): Promise<PullResult>;
  status(filter: { readonly group?: GroupName | undefined }): Promise<RenewalStatus>;
  /** Publishes again the notices of windows that were pulled forward before a restart. */
  republishNotices(): Promise<void>;
  /** Withdraws the notice of a certificate that was replaced or revoked. */
  withdrawNotice(device: DeviceId, serial: string): Promise<void>;
}

const PAGE = 500;
const DAY_MS = 24 * 3600 * 1000;
const HOUR_MS = 3600 * 1000;
/** How long a count of the fleet is used. */
const COUNT_VALID_MS = 60_000;
/** The length of a window that was pulled forward, as a fraction of the whole pull; at least a minute. */
const PULLED_FRACTION = 1 / 20;
const PULLED_MIN_MS = 60_000;

export interface RenewalScheduleOptions {
  readonly registry: RenewalWindowStore & Pick<GroupProfileStore, 'listProfiles'> & Pick<Registry, 'recordAction'>;
  /** Certificates that may be issued per second for renewals. */
  readonly perSecond: number;
  /** Publishes the notice for a device; undefined withdraws it. */
  readonly notify: (device: DeviceId, notice: RenewalNotice | undefined) => Promise<void>;
  readonly now: () => number;
  readonly log: Logger;
}

export function createRenewalSchedule(options: RenewalScheduleOptions): RenewalSchedule {
  return new Schedule(options);
}

type Profiles = ReadonlyMap<GroupName, GroupProfile>;

class Schedule implements RenewalSchedule {
  readonly #options: RenewalScheduleOptions;
  #fleetMs = 0;
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(options: RenewalScheduleOptions) {
    this.#options = options;
  }

  async window(validity: CertificateValidity, group?: GroupName): Promise<RenewalWindow> {
    const { registry } = this.#options;
    const pulled = await registry.findPulledWindow(validity.serial);
    if (pulled !== undefined) return pulled;
    const fleetMs = await this.#fleetRenewalMs();
    const profile = group === undefined ? undefined : (await registry.listProfiles()).get(group);
    return scheduledWindow(validity, fleetMs, profile?.renewal);
  }

  async pull(request: PullRequest): Promise<PullResult> {
    const { registry, log } = this.#options;
    const { group, issuerId, withinMs, reason, actor } = request;
    const subject = issuerId === undefined ? `group/${group ?? '*'}` : `ca/${issuerId}`;
    const details = { withinSeconds: Math.round(withinMs / 1000), reason };
    const outcome = ({ pulled, services, until }: PullResult) => [
      { action: 'renewals.pulled', details: { pulled, services, until: new Date(until).toISOString() } },
    ];
    // Windows are set a page at a time and devices are notified, so one transaction cannot hold the action.
    const action = { name: 'renewals.pull', actor, subject, details, outcome };
    const result = await performAnnouncedAction(registry, action, () => this.#pullForward(request));
    const { pulled, services, until } = result;
    log.info({ subject, pulled, services, until: new Date(until).toISOString(), reason }, 'renewals pulled forward');
    return result;
  }

  async status(filter: { readonly group?: GroupName | undefined }): Promise<RenewalStatus> {
    const { registry, perSecond, now } = this.#options;
    const at = now();
    const fleetMs = await this.#fleetRenewalMs();
    const profiles = await registry.listProfiles();
    const counts = { devices: 0, due: 0, late: 0, pulled: 0, endingIn7Days: 0, endingIn30Days: 0 };
    let nextHour = 0;
    for await (const certificate of this.#currentCertificates(filter)) {
      const { start, end } = windowOf(certificate, fleetMs, profiles);
      counts.devices += 1;
      if (end <= at) counts.late += 1;
      else if (start <= at) counts.due += 1;
      if (certificate.pulled !== undefined) counts.pulled += 1;
      if (certificate.notAfter - at <= 7 * DAY_MS) counts.endingIn7Days += 1;
      if (certificate.notAfter - at <= 30 * DAY_MS) counts.endingIn30Days += 1;
      // The fraction of a window within the next hour is the probability that its device renews then.
      nextHour += Math.max(0, Math.min(end, at + HOUR_MS) - Math.max(start, at)) / (end - start);
    }
    return { ...counts, budgetPerSecond: perSecond, nextHourPerSecond: nextHour / 3600 };
  }

  async republishNotices(): Promise<void> {
    let count = 0;
    let publishing: Promise<void>[] = [];
    for await (const certificate of this.#currentCertificates({})) {
      if (certificate.pulled === undefined) continue;
      publishing.push(this.#publish(certificate, certificate.pulled));
      count += 1;
      if (publishing.length < PAGE) continue;
      await Promise.all(publishing);
      publishing = [];
    }
    await Promise.all(publishing);
    if (count > 0) this.#options.log.info({ devices: count }, 'renewal notices published again');
  }

  async withdrawNotice(device: DeviceId, serial: string): Promise<void> {
    const { registry, notify } = this.#options;
    if ((await registry.findPulledWindow(serial)) !== undefined) await notify(device, undefined);
  }

  async #pullForward({ group, issuerId, withinMs, reason }: PullRequest): Promise<PullResult> {
    const { registry, perSecond, now } = this.#options;
    const certificates: CurrentCertificate[] = [];
    for await (const certificate of this.#currentCertificates({ group, issuerId })) certificates.push(certificate);
    if (group === undefined) {
      for await (const certificate of this.#serviceCertificates(issuerId)) certificates.push(certificate);
    }
    // A stable order that does not follow from names: neighbouring devices must not renew one after the other.
    certificates.sort((a, b) => serialPosition(a.serial) - serialPosition(b.serial) || (a.serial < b.serial ? -1 : 1));
    const from = now();
    const span = Math.max(withinMs, (certificates.length / perSecond) * 1000);
    const length = Math.max(span * PULLED_FRACTION, PULLED_MIN_MS);
    const fleetMs = await this.#fleetRenewalMs();
    const profiles = await registry.listProfiles();
    let [changed, services] = [0, 0];
    let until = from;
    for (let at = 0; at < certificates.length; at += PAGE) {
      const page = certificates.slice(at, at + PAGE).map((certificate, index) => {
        const start = Math.floor(from + ((at + index) / certificates.length) * span);
        return { certificate, window: { start, end: Math.floor(start + length), reason } };
      });
      const earlier = page.filter(
        ({ certificate, window }) => window.end < windowOf(certificate, fleetMs, profiles).end,
      );
      changed += await registry.pullWindows(
        earlier.map(({ certificate, window }) => ({ serial: certificate.serial, ...window })),
      );
      for (const { certificate, window } of earlier) {
        if (certificate.device === undefined) services += 1;
        until = Math.max(until, window.end);
      }
      // Together: each one waits for a commit, and simultaneous ones share it.
      await Promise.all(earlier.map(({ certificate, window }) => this.#publish(certificate, window)));
      await new Promise((resolve) => setImmediate(resolve));
    }
    return { pulled: changed - services, services, until, perSecond: changed === 0 ? 0 : changed / (span / 1000) };
  }

  /** Services receive no notice. */
  async #publish(certificate: CurrentCertificate, window: RenewalWindow): Promise<void> {
    const { notify, now } = this.#options;
    if (certificate.device === undefined) return;
    await notify(certificate.device, renewalNotice(effectiveWindow(window, certificate, now()), now()));
  }

  /** How long the whole fleet needs to renew within the budget, milliseconds. */
  async #fleetRenewalMs(): Promise<number> {
    const { registry, perSecond, now } = this.#options;
    if (Math.abs(now() - this.#countedAt) > COUNT_VALID_MS) {
      this.#countedAt = now();
      this.#fleetMs = ((await registry.countLiveCertificates()) / perSecond) * 1000;
    }
    return this.#fleetMs;
  }

  async *#currentCertificates(filter: {
    readonly group?: GroupName | undefined;
    readonly issuerId?: string | undefined;
  }): AsyncGenerator<CurrentCertificate> {
    let after: DeviceId | undefined;
    for (;;) {
      const page = await this.#options.registry.listCurrentCertificates({ ...filter, after, limit: PAGE });
      yield* page;
      after = page.at(-1)?.device;
      if (page.length < PAGE) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async *#serviceCertificates(issuerId: string | undefined): AsyncGenerator<CurrentCertificate> {
    let after: string | undefined;
    for (;;) {
      const page = await this.#options.registry.listServiceCertificates({ issuerId, after, limit: PAGE });
      yield* page;
      after = page.at(-1)?.serial;
      if (page.length < PAGE) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

function windowOf(certificate: CurrentCertificate, fleetMs: number, profiles: Profiles): RenewalWindow {
  const profile = certificate.group === undefined ? undefined : profiles.get(certificate.group);
  return certificate.pulled ?? scheduledWindow(certificate, fleetMs, profile?.renewal);
}
