import type { DeviceId, RenewalNotice } from '@rollcall/protocol';
import type { DeviceClock } from './device-clock.ts';
import { asDeviceError, DeviceError } from './device-error.ts';
import { type DeviceSettings, type EnrollAgainOptions, given } from './device-options.ts';
import type { DeviceLog, LinkState, StateReason } from './device-state.ts';
import { enroll, requestRenewal } from './enrollment.ts';
import { fetchCaCertificates, fetchRootLists } from './est-client.ts';
import type { IdentityStore, StoredIdentity } from './identity-store.ts';
import type { Uplink } from './mqtt-client.ts';
import { fetchRenewalInfo } from './renewal-info.ts';
import { Renewer, validityOf } from './renewer.ts';
import type { Schedule } from './schedule.ts';
import { SerialQueue } from './serial-queue.ts';
import type { Standing } from './state-publisher.ts';
import { judgeBundle, judgeOffer, type TrustJudgement } from './trust-bundle.ts';

export interface IdentityKeeperOptions {
  readonly store: IdentityStore;
  readonly identity: StoredIdentity;
  readonly order: DeviceSettings;
  readonly clock: DeviceClock;
  readonly standing: Standing;
  readonly uplink: Uplink;
  readonly random: () => number;
  readonly schedule: Schedule;
  readonly log: DeviceLog;
}

export class IdentityKeeper {
  readonly #options: IdentityKeeperOptions;
  readonly #renewer: Renewer;
  readonly #ending = new AbortController();
  #identity: StoredIdentity;
  #wasRefused = false;
  #wasUntrusted = false;
  #renewal: Promise<void> | undefined;
  /** The identity is read, changed and written by one at a time: two bundles, or a bundle and a renewal, may come together. */
  readonly #turns = new SerialQueue();

  constructor(options: IdentityKeeperOptions) {
    const { identity, clock, random, schedule, log } = options;
    this.#options = options;
    this.#identity = identity;
    clock.raise(validityOf(identity.certificatePem).notBefore);
    this.#renewer = new Renewer(identity.certificatePem, {
      renew: () => this.renew(),
      ask: () => fetchRenewalInfo(this.#identity, { signal: this.#ending.signal, clock, keys: options.order.keys }),
      ...{ now: clock.now, random, schedule, log },
    });
  }

  get deviceId(): DeviceId {
    return this.#identity.deviceId;
  }

  /** For who has to ask the server something of its own. */
  get identity(): StoredIdentity {
    return this.#identity;
  }

  /** The server says when to renew; undefined leaves it to the device. */
  steer(notice: RenewalNotice | undefined): void {
    this.#renewer.steer(notice);
  }

  /** A bundle of roots was offered, PEM. Resolves when what is trusted now survives a power cut. */
  trust(bundlePem: string): Promise<void> {
    return this.#turns.run(() => this.#follow(judgeBundle(this.#identity, bundlePem)));
  }

  start(): void {
    if (this.#options.order.renewal !== 'manual') this.#renewer.start();
  }

  /** The connection changed its state. */
  linked(link: LinkState, error: DeviceError | undefined, reason: StateReason): void {
    const { standing, clock } = this.#options;
    standing.link = link;
    // Once, not at each refusal: a certificate that was renewed and is refused as well has its own pace.
    if (link === 'connected') {
      this.#wasRefused = false;
      this.#wasUntrusted = false;
      void clock.keep();
    }
    if (error?.code === 'server_untrusted' && !this.#wasUntrusted) {
      this.#wasUntrusted = true;
      void this.#askForRoots();
    }
    if (error?.code === 'connection_refused' && !this.#wasRefused && standing.state !== 'renewing') {
      this.#wasRefused = true;
      this.#renewer.hasten();
    }
    if (standing.state === 'renewing' || standing.state === 'enrolling' || standing.state === 'revoked') return;
    standing.become(link, error, reason);
  }

  /** Two calls at one time are one renewal. */
  renew(): Promise<void> {
    this.#renewal ??= this.#turns
      .run(() => this.#renew())
      .finally(() => {
        this.#renewal = undefined;
      });
    return this.#renewal;
  }

  enroll(token: string, options: EnrollAgainOptions): Promise<void> {
    return this.#turns.run(() => this.#enroll(token, options));
  }

  async #enroll(token: string, { replaceFleet = false }: EnrollAgainOptions): Promise<void> {
    if (this.#ending.signal.aborted) throw new DeviceError('closed');
    const { store, order, standing, uplink } = this.#options;
    const { enrollUrl, rootSha256, mqttUrl, clock, keys } = order;
    const before = standing.state;
    standing.become('enrolling', undefined, 'token given');
    let identity: StoredIdentity;
    try {
      identity = await enroll(store, {
        ...given({ enrollUrl, rootSha256, mqttUrl, clock, keys }),
        token,
        replaceFleet,
        deviceId: this.deviceId,
        signal: this.#ending.signal,
      });
    } catch (thrown) {
      const error = asDeviceError(thrown, 'internal');
      standing.become(before === 'revoked' ? before : standing.link, error, 'not enrolled');
      throw error;
    }
    standing.become('connecting', undefined, 'first try');
    this.#wasRefused = false;
    this.#adopt(identity);
    this.start();
    await uplink.replaceIdentity(identity);
  }

  /** Ends what is under way, and resolves when it has ended. */
  async close(): Promise<void> {
    this.#ending.abort();
    this.#renewer.stop();
    await this.#turns.idle();
  }

  async #renew(): Promise<void> {
    const { store, order, standing } = this.#options;
    if (this.#ending.signal.aborted) throw new DeviceError('closed');
    if (standing.state === 'revoked') throw standing.lastError;
    standing.become('renewing', undefined, 'renewal began');
    try {
      // 1. The next pair, with a key that is on disk before it is certified.
      const next = await requestRenewal(store, this.#identity, {
        ...given({ clock: order.clock, keys: order.keys }),
        signal: this.#ending.signal,
      });

      // 2. It proves itself by connecting; until then the old pair is the one on disk.
      await this.#prove(next);

      // 3. Only now the old one goes.
      await store.commit(next);
      this.#adopt(next);
      standing.become(standing.link, undefined, 'renewed');
    } catch (thrown) {
      const error = asDeviceError(thrown, 'internal');
      if (error.status === 401 || error.status === 403) await this.#retire(error);
      else if (error.code !== 'closed') standing.become(standing.link, error, 'renewal failed');
      throw error;
    }
  }

  async #prove(next: StoredIdentity): Promise<void> {
    const { uplink, store } = this.#options;
    try {
      await uplink.useIdentity(next);
    } catch (error) {
      // Asked again with the same key, the server would give the same certificate again.
      if (asDeviceError(error, 'internal').code === 'connection_refused') await store.dropPending();
      throw error;
    }
  }

  /**
   * The CA may have been rotated while the device was away. Anybody may answer: what is accepted proves itself, a new root
   * by a certificate of one that is trusted (RFC 7030, section 4.1.3, calls it NewWithOld), a list by its signature.
   */
  async #askForRoots(inTurn = (work: () => Promise<void>) => this.#turns.run(work)): Promise<void> {
    const { enrollUrl } = this.#identity;
    try {
      const peer = { url: enrollUrl, root: 'unverified', signal: this.#ending.signal } as const;
      const offered = await fetchCaCertificates(peer);
      const lists = await fetchRootLists(peer);
      await inTurn(() => this.#follow(judgeOffer(this.#identity, offered, lists)));
    } catch (error) {
      this.#options.log.debug({ code: asDeviceError(error, 'internal').code }, 'no other root was found');
    }
  }

  async #follow(judgement: TrustJudgement): Promise<void> {
    const { store, uplink, log } = this.#options;
    if (judgement.verdict === 'refused') log.warn({ reason: judgement.reason }, 'trust bundle refused');
    else if (judgement.notice !== undefined) log.warn({ reason: judgement.notice }, 'trust bundle refused in part');
    if (judgement.verdict !== 'changed' || this.#ending.signal.aborted) return;
    const { trusted, added, dropped } = judgement;
    const identity = { ...this.#identity, ...trusted };
    try {
      await store.commit(identity);
    } catch (thrown) {
      const { code, message } = asDeviceError(thrown, 'identity_unusable');
      log.warn({ code, reason: message }, 'new roots not stored');
      throw thrown;
    }
    this.#identity = identity;
    uplink.trust(trusted);
    if (added > 0 || dropped > 0) log.info({ added, dropped }, 'the trusted roots have changed');
    else log.info({}, 'a newer revocation list of a root is applied');
  }

  #adopt(identity: StoredIdentity): void {
    this.#identity = identity;
    this.#options.clock.raise(validityOf(identity.certificatePem).notBefore);
    this.#renewer.adopt(identity.certificatePem);
  }

  /** Nobody is asked anything any more. */
  async #retire(error: DeviceError): Promise<void> {
    this.#renewer.stop();
    this.#options.standing.become('revoked', error, 'refused for good');
    await this.#options.uplink.rest();
    // The token that lets it in again may name a root that came while it was away. This runs in a turn already.
    await this.#askForRoots((work) => work());
  }
}
