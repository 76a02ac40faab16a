/**
 * When the fleet renews, as one plan: the window of each certificate, how a group or a CA's whole flock is asked to come
 * earlier, and what is due. Issues nothing; devices come by themselves.
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
  /** Undefined: every group. */
  readonly group?: GroupName | undefined;
  /** What this CA issued alone. */
  readonly issuerId?: string | undefined;
  /** Milliseconds in which all of them are to renew; longer when the budget asks for it. */
  readonly withinMs: number;
  readonly reason: PulledWindow['reason'];
  readonly actor: Actor;
}

export interface PullResult {
  /** Devices whose window is earlier than it was. */
  readonly pulled: number;
  /** When the last window ends, milliseconds since the epoch. */
  readonly until: number;
  /** Renewals per second that this comes to. */
  readonly perSecond: number;
}

export interface RenewalStatus {
  readonly devices: number;
  /** Windows that are open. */
  readonly due: number;
  /** Windows that are over. */
  readonly late: number;
  /** Windows that were pulled forward, renewal still to come. */
  readonly pulled: number;
  readonly endingIn7Days: number;
  readonly endingIn30Days: number;
  /** Renewals per second that are allowed, and that the next hour's windows come to. */
  readonly budgetPerSecond: number;
  readonly nextHourPerSecond: number;
}

export interface RenewalSchedule {
  /** `group`: of the holder; undefined for a service. */
  window(life: CertificateValidity, group?: GroupName): Promise<RenewalWindow>;
  pull(order: PullRequest): Promise<PullResult>;
  status(filter: { readonly group?: GroupName | undefined }): Promise<RenewalStatus>;
  /** Tells again what was asked for before a restart. */
  republishNotices(): Promise<void>;
  /** A device has a new certificate in the place of this one, or lost it: what it was asked for is over. */
  withdrawNotice(device: DeviceId, serial: string): Promise<void>;
}

const PAGE = 500;
const DAY_MS = 24 * 3600 * 1000;
const HOUR_MS = 3600 * 1000;
/** The fleet's size doesn't change the windows of the next minute. */
const COUNT_AGAIN_MS = 60_000;
/** A window that was pulled forward is as long as this part of the whole pull, and not shorter than a minute. */
const PULLED_LENGTH = 1 / 20;
const PULLED_LEAST_MS = 60_000;

export function createRenewalSchedule(options: {
  readonly registry: RenewalWindowStore & Pick<GroupProfileStore, 'listProfiles'> & Pick<Registry, 'recordAction'>;
  /** Certificates that may be issued per second for renewals. */
  readonly perSecond: number;
  /** Puts a notice where the device finds it; undefined takes it away. */
  readonly notify: (device: DeviceId, notice: RenewalNotice | undefined) => Promise<void>;
  readonly now: () => number;
  readonly log: Logger;
}): RenewalSchedule {
  const { registry, perSecond, notify, now, log } = options;
  let needMs = 0;
  let countedAt = Number.NEGATIVE_INFINITY;

  const fleetNeedMs = async (): Promise<number> => {
    if (Math.abs(now() - countedAt) > COUNT_AGAIN_MS) {
      countedAt = now();
      needMs = ((await registry.countLiveCertificates()) / perSecond) * 1000;
    }
    return needMs;
  };

  async function* currentCertificates(filter: {
    readonly group?: GroupName | undefined;
    readonly issuerId?: string | undefined;
  }): AsyncGenerator<CurrentCertificate> {
    let after: DeviceId | undefined;
    for (;;) {
      const page = await registry.listCurrentCertificates({ ...filter, after, limit: PAGE });
      yield* page;
      after = page.at(-1)?.device;
      if (page.length < PAGE) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  type Profiles = ReadonlyMap<GroupName, GroupProfile>;
  const windowOf = (certificate: CurrentCertificate, need: number, profiles: Profiles): RenewalWindow =>
    certificate.pulled ?? scheduledWindow(certificate, need, profiles.get(certificate.group)?.renewal);

  const tell = async (
    certificate: CertificateValidity & { readonly device: DeviceId },
    window: RenewalWindow,
  ): Promise<void> => {
    await notify(certificate.device, renewalNotice(effectiveWindow(window, certificate, now()), now()));
  };

  const pullForward = async ({ group, issuerId, withinMs, reason }: PullRequest): Promise<PullResult> => {
    const found: CurrentCertificate[] = [];
    for await (const certificate of currentCertificates({ group, issuerId })) found.push(certificate);
    // The same order every time, and none that follows from names: neighbours must not renew one after the other.
    found.sort((a, b) => serialPosition(a.serial) - serialPosition(b.serial) || (a.serial < b.serial ? -1 : 1));
    const from = now();
    const span = Math.max(withinMs, (found.length / perSecond) * 1000);
    const length = Math.max(span * PULLED_LENGTH, PULLED_LEAST_MS);
    const need = await fleetNeedMs();
    const profiles = await registry.listProfiles();
    let pulled = 0;
    let until = from;
    for (let at = 0; at < found.length; at += PAGE) {
      const slice = found.slice(at, at + PAGE).map((certificate, index) => {
        const start = Math.floor(from + ((at + index) / found.length) * span);
        return { certificate, window: { start, end: Math.floor(start + length), reason } };
      });
      const earlier = slice.filter(({ certificate, window }) => window.end < windowOf(certificate, need, profiles).end);
      pulled += await registry.pullWindows(
        earlier.map(({ certificate, window }) => ({ serial: certificate.serial, ...window })),
      );
      for (const { window } of earlier) until = Math.max(until, window.end);
      // Together: each waits for a commit, and those of one moment share it.
      await Promise.all(earlier.map(({ certificate, window }) => tell(certificate, window)));
      await new Promise((resolve) => setImmediate(resolve));
    }
    return { pulled, until, perSecond: pulled === 0 ? 0 : pulled / (span / 1000) };
  };

  return {
    window: async (life, group) =>
      (await registry.findPulledWindow(life.serial)) ??
      scheduledWindow(
        life,
        await fleetNeedMs(),
        group === undefined ? undefined : (await registry.listProfiles()).get(group)?.renewal,
      ),

    pull: async (order) => {
      const { group, issuerId, withinMs, reason, actor } = order;
      const subject = issuerId === undefined ? `group/${group ?? '*'}` : `ca/${issuerId}`;
      const details = { withinSeconds: Math.round(withinMs / 1000), reason };
      const outcome = ({ pulled, until }: PullResult) => [
        { action: 'renewals.pulled', details: { pulled, until: new Date(until).toISOString() } },
      ];
      // Windows are set a page at a time, and devices are told: more than one transaction can hold.
      const act = { name: 'renewals.pull', actor, subject, details, outcome };
      const result = await performAnnouncedAction(registry, act, () => pullForward(order));
      const { pulled, until } = result;
      log.info({ subject, pulled, until: new Date(until).toISOString(), reason }, 'renewals pulled forward');
      return result;
    },

    status: async (filter) => {
      const at = now();
      const need = await fleetNeedMs();
      const profiles = await registry.listProfiles();
      const counts = { devices: 0, due: 0, late: 0, pulled: 0, endingIn7Days: 0, endingIn30Days: 0 };
      let nextHour = 0;
      for await (const certificate of currentCertificates(filter)) {
        const { start, end } = windowOf(certificate, need, profiles);
        counts.devices += 1;
        if (end <= at) counts.late += 1;
        else if (start <= at) counts.due += 1;
        if (certificate.pulled !== undefined) counts.pulled += 1;
        if (certificate.notAfter - at <= 7 * DAY_MS) counts.endingIn7Days += 1;
        if (certificate.notAfter - at <= 30 * DAY_MS) counts.endingIn30Days += 1;
        // The part of a window that lies in the next hour is the part of its device's chance to come then.
        nextHour += Math.max(0, Math.min(end, at + HOUR_MS) - Math.max(start, at)) / (end - start);
      }
      return { ...counts, budgetPerSecond: perSecond, nextHourPerSecond: nextHour / 3600 };
    },

    republishNotices: async () => {
      let told = 0;
      let waiting: Promise<void>[] = [];
      for await (const certificate of currentCertificates({})) {
        if (certificate.pulled === undefined) continue;
        waiting.push(tell(certificate, certificate.pulled));
        told += 1;
        if (waiting.length < PAGE) continue;
        await Promise.all(waiting);
        waiting = [];
      }
      await Promise.all(waiting);
      if (told > 0) log.info({ devices: told }, 'renewals that were pulled forward told again');
    },

    withdrawNotice: async (device, serial) => {
      if ((await registry.findPulledWindow(serial)) !== undefined) await notify(device, undefined);
    },
  };
}
