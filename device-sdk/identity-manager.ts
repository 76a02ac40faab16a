import type { DeviceId, RenewalNotice } from '@rollcall/protocol';
import type { DeviceClock } from './device-clock.ts';
import { asDeviceError, DeviceError } from './device-error.ts';
import { type DeviceSettings, type EnrollAgainOptions, withoutUndefined } from './device-options.ts';
import type { ConnectionState, DeviceLog, StateReason } from './device-state.ts';
import { enroll, requestRenewal } from './enrollment.ts';
import { fetchCaCertificates, fetchRootRevocationLists } from './est-client.ts';
import type { IdentityStore, StoredIdentity } from './identity-store.ts';
import type { MqttClient } from './mqtt-client.ts';
import { fetchRenewalInfo } from './renewal-info.ts';
import { Renewer, validityOf } from './renewer.ts';
import type { Schedule } from './schedule.ts';
import { SerialQueue } from './serial-queue.ts';
import { mayRenewalHelp } from './server-reason.ts';
import type { StatePublisher } from './state-publisher.ts';
import { evaluateBundle, evaluateCertificates, TRUST_EVENTS, type TrustUpdate } from './trust-bundle.ts';

export interface IdentityManagerOptions {
  readonly store: IdentityStore;
  readonly identity: StoredIdentity;
  readonly settings: DeviceSettings;
  readonly clock: DeviceClock;
  readonly statePublisher: StatePublisher;
  readonly mqttClient: MqttClient;
  readonly random: () => number;
  readonly schedule: Schedule;
  readonly log: DeviceLog;
}

export class IdentityManager {
  readonly #options: IdentityManagerOptions;
  readonly #renewer: Renewer;
  readonly #ending = new AbortController();
  #identity: StoredIdentity;
  #wasRefused = false;
  #wasUntrusted = false;
  #renewal: Promise<void> | undefined;
  /** The identity is read, changed and written by one at a time: two bundles, or a bundle and a renewal, may come together. */
  readonly #serial = new SerialQueue();

  constructor(options: IdentityManagerOptions) {
    const { identity, clock, random, schedule, log } = options;
    this.#options = options;
    this.#identity = identity;
    clock.advanceTo(validityOf(identity.certificatePem).notBefore);
    this.#renewer = new Renewer(identity.certificatePem, {
      renew: () => this.renew(),
      fetchNotice: () =>
        fetchRenewalInfo(this.#identity, { signal: this.#ending.signal, clock, keys: options.settings.keys }),
      ...{ now: clock.now, random, schedule, log },
    });
  }

  get deviceId(): DeviceId {
    return this.#identity.deviceId;
  }

  /** The current identity, for requests to the enroll server. */
  get identity(): StoredIdentity {
    return this.#identity;
  }

  /** Applies the server's renewal notice; undefined leaves the time to the device. */
  applyRenewalNotice(notice: RenewalNotice | undefined): void {
    this.#renewer.applyNotice(notice);
  }

  /** Evaluates a received trust bundle (PEM). Resolves when the trusted roots are durable on disk. */
  applyTrustBundle(bundlePem: string): Promise<void> {
    return this.#serial.run(() => this.#applyTrustUpdate(evaluateBundle(this.#identity, bundlePem)));
  }

  start(): void {
    if (this.#options.settings.renewal !== 'manual') this.#renewer.start();
  }

  /** The connection changed its state. */
  connectionChanged(link: ConnectionState, error: DeviceError | undefined, reason: StateReason): void {
    const { statePublisher, clock } = this.#options;
    statePublisher.connectionState = link;
    // Once, not at each refusal: a renewed certificate that is refused as well follows the renewal plan.
    if (link === 'connected') {
      this.#wasRefused = false;
      this.#wasUntrusted = false;
      void clock.persist();
    }
    if (error?.code === 'server_untrusted' && !this.#wasUntrusted) {
      this.#wasUntrusted = true;
      void this.#askForRoots();
    }
    const isRefused = error?.code === 'connection_refused' && mayRenewalHelp(error.serverReason);
    if (isRefused && !this.#wasRefused && statePublisher.state !== 'renewing') {
      this.#wasRefused = true;
      this.#renewer.renewSoon();
    }
    if (
      statePublisher.state === 'renewing' ||
      statePublisher.state === 'enrolling' ||
      statePublisher.state === 'revoked'
    )
      return;
    statePublisher.setState(link, error, reason);
  }

  /** Two calls at one time are one renewal. */
  renew(): Promise<void> {
    this.#renewal ??= this.#serial
      .run(() => this.#renew())
      .finally(() => {
        this.#renewal = undefined;
      });
    return this.#renewal;
  }

  enroll(token: string, options: EnrollAgainOptions): Promise<void> {
    return this.#serial.run(() => this.#enroll(token, options));
  }

  async #enroll(token: string, { replaceFleet = false }: EnrollAgainOptions): Promise<void> {
    if (this.#ending.signal.aborted) throw new DeviceError('closed');
    const { store, settings, statePublisher, mqttClient } = this.#options;
    const { enrollUrl, rootSha256, mqttUrl, clock, keys } = settings;
    const before = statePublisher.state;
    statePublisher.setState('enrolling', undefined, 'token given');
    let identity: StoredIdentity;
    try {
      identity = await enroll(store, {
        ...withoutUndefined({ enrollUrl, rootSha256, mqttUrl, clock, keys }),
        token,
        replaceFleet,
        deviceId: this.deviceId,
        signal: this.#ending.signal,
      });
    } catch (thrown) {
      const error = asDeviceError(thrown, 'internal');
      statePublisher.setState(before === 'revoked' ? before : statePublisher.connectionState, error, 'not enrolled');
      throw error;
    }
    statePublisher.setState('connecting', undefined, 'first try');
    this.#wasRefused = false;
    this.#adopt(identity);
    this.start();
    await mqttClient.replaceIdentity(identity);
  }

  /** Ends what is under way, and resolves when it has ended. */
  async close(): Promise<void> {
    this.#ending.abort();
    this.#renewer.stop();
    await this.#serial.idle();
  }

  async #renew(): Promise<void> {
    const { store, settings, statePublisher } = this.#options;
    if (this.#ending.signal.aborted) throw new DeviceError('closed');
    if (statePublisher.state === 'revoked') throw statePublisher.lastError;
    statePublisher.setState('renewing', undefined, 'renewal began');
    try {
      // 1. Request the next certificate, for a key that is on disk before the request.
      const next = await requestRenewal(store, this.#identity, {
        ...withoutUndefined({ clock: settings.clock, keys: settings.keys }),
        signal: this.#ending.signal,
      });

      // 2. Connect with it. Until then the old pair stays on disk.
      await this.#connectWith(next);

      // 3. Replace the old pair.
      await store.commit(next);
      this.#adopt(next);
      statePublisher.setState(statePublisher.connectionState, undefined, 'renewed');
    } catch (thrown) {
      const error = asDeviceError(thrown, 'internal');
      if (error.status === 401 || error.status === 403) await this.#stopRevoked(error);
      else if (error.code !== 'closed')
        statePublisher.setState(statePublisher.connectionState, error, 'renewal failed');
      throw error;
    }
  }

  async #connectWith(next: StoredIdentity): Promise<void> {
    const { mqttClient, store } = this.#options;
    try {
      await mqttClient.useIdentity(next);
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
  async #askForRoots(run = (work: () => Promise<void>) => this.#serial.run(work)): Promise<void> {
    const { enrollUrl } = this.#identity;
    try {
      const peer = { url: enrollUrl, root: 'unverified', signal: this.#ending.signal } as const;
      const offered = await fetchCaCertificates(peer);
      const lists = await fetchRootRevocationLists(peer);
      await run(() => this.#applyTrustUpdate(evaluateCertificates(this.#identity, offered, lists)));
    } catch (error) {
      const { code } = asDeviceError(error, 'internal');
      this.#options.log.debug({ event: TRUST_EVENTS.unanswered, code }, 'no other root was found');
    }
  }

  async #applyTrustUpdate(update: TrustUpdate): Promise<void> {
    const { store, mqttClient, log } = this.#options;
    if (update.verdict === 'refused')
      log.warn({ event: TRUST_EVENTS.refused, reason: update.reason }, 'trust bundle refused');
    else if (update.notice !== undefined) log.warn({ reason: update.notice }, 'trust bundle refused in part');
    if (update.verdict !== 'changed' || this.#ending.signal.aborted) return;
    const { trusted, added, dropped } = update;
    const identity = { ...this.#identity, ...trusted };
    try {
      await store.commit(identity);
    } catch (thrown) {
      const { code, message } = asDeviceError(thrown, 'identity_unusable');
      log.warn({ code, reason: message }, 'new roots not stored');
      throw thrown;
    }
    this.#identity = identity;
    mqttClient.setTrustedRoots(trusted);
    if (added > 0 || dropped > 0)
      log.info({ event: TRUST_EVENTS.changed, added, dropped }, 'the trusted roots have changed');
    else log.info({}, 'a newer revocation list of a root is applied');
  }

  #adopt(identity: StoredIdentity): void {
    this.#identity = identity;
    this.#options.clock.advanceTo(validityOf(identity.certificatePem).notBefore);
    this.#renewer.adopt(identity.certificatePem);
  }

  /** Stops renewal and connection of a revoked device. */
  async #stopRevoked(error: DeviceError): Promise<void> {
    this.#renewer.stop();
    this.#options.statePublisher.setState('revoked', error, 'refused for good');
    await this.#options.mqttClient.pause();
    // The token that lets it in again may name a root that came while it was away. This runs in a turn already.
    await this.#askForRoots((work) => work());
  }
}
