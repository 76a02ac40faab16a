/** Fixture for the tests of a registry: an empty registry, a clock, tokens and certificates. */

import { createHash, randomBytes } from 'node:crypto';
import { type DeviceId, type GroupName, parseDeviceId, parseServiceName, type ServiceName } from '@rollcall/protocol';
import type { Enrollment, EnrollmentOutcome } from '../../registry/certificates/issuance-store.ts';
import type { CreatedToken, IssuedCertificate, Registry } from '../../registry/index.ts';
import type { TokenRequest } from '../../registry/tokens/tokens.ts';

export interface FreshRegistry {
  readonly registry: Registry;
  /** Closes the registry and opens its files again. */
  reopen(): Promise<Registry>;
}

/** Opens an empty registry that lives until the test ends. */
export type OpenFreshRegistry = (now: () => number) => Promise<FreshRegistry>;

export const OPERATOR = 'operator/local';
export const MINUTE = 60_000;
export const DAY = 24 * 3_600_000;
const START = Date.UTC(2030, 0, 1);

export function device(text: string): DeviceId {
  return parseDeviceId(text) ?? expected('a device id', text);
}

export function service(text: string): ServiceName {
  return parseServiceName(text) ?? expected('a service name', text);
}

export interface EnrollmentOrder {
  readonly token: CreatedToken;
  readonly id: string;
  /** Any text; equal texts are the same key. */
  readonly key: string;
}

export class RegistryFixture {
  registry: Registry;
  /** The CA of the certificates that are issued from now on. */
  issuerId: string | undefined;
  readonly #fresh: FreshRegistry;
  readonly #clock: { now: number };

  private constructor(fresh: FreshRegistry, clock: { now: number }) {
    this.#fresh = fresh;
    this.#clock = clock;
    this.registry = fresh.registry;
  }

  static async open(openFresh: OpenFreshRegistry): Promise<RegistryFixture> {
    const clock = { now: START };
    return new RegistryFixture(await openFresh(() => clock.now), clock);
  }

  get now(): number {
    return this.#clock.now;
  }

  pass(ms: number): void {
    this.#clock.now += ms;
  }

  async reopen(): Promise<void> {
    this.registry = await this.#fresh.reopen();
  }

  mint(order: Partial<TokenRequest> = {}): Promise<CreatedToken> {
    const usual: TokenRequest = { maxUses: 1, ttlSeconds: 3600, group: 'default' as GroupName, labels: {} };
    return this.registry.createToken({ ...usual, ...order }, OPERATOR);
  }

  /** A certificate with 90 days of validity and a new serial. */
  issue(key: string): IssuedCertificate {
    return {
      serial: `a${randomBytes(15).toString('hex')}`,
      der: randomBytes(64),
      publicKeySha256: keyHash(key),
      notBefore: this.now - 10 * MINUTE,
      notAfter: this.now + 90 * DAY,
      issuerId: this.issuerId,
    };
  }

  claim({ token, id, key }: EnrollmentOrder): Enrollment {
    const certificate = this.issue(key);
    return {
      tokenId: token.record.id,
      secret: token.secret,
      deviceId: device(id),
      publicKeySha256: certificate.publicKeySha256,
      certificate,
      address: '192.0.2.7',
    };
  }

  tryEnroll(order: EnrollmentOrder): Promise<EnrollmentOutcome> {
    return this.registry.commitEnrollment(this.claim(order));
  }

  /** Enrolls with a new token unless one is given; returns the certificate's serial. */
  async enroll(id: string, order: Partial<EnrollmentOrder> = {}): Promise<string> {
    const outcome = await this.tryEnroll({
      token: order.token ?? (await this.mint()),
      id,
      key: order.key ?? `key of ${id}`,
    });
    return outcome.outcome === 'enrolled' ? outcome.certificate.serial : expected('an enrollment', outcome);
  }

  async issueService(name: string): Promise<string> {
    const certificate = this.issue(`key of ${name} ${randomBytes(4).toString('hex')}`);
    await this.registry.commitService(service(name), certificate, { actor: OPERATOR });
    return certificate.serial;
  }

  /** The audit as lines of `action subject outcome`, oldest first. */
  async audit(): Promise<readonly string[]> {
    const entries = await this.registry.listAudit({ limit: 1000 });
    return entries.map((entry) => `${entry.action} ${entry.subject} ${entry.outcome}`).reverse();
  }
}

export function keyHash(key: string): string {
  return createHash('sha256').update(key).digest('hex');
}

function expected(what: string, found: unknown): never {
  throw new Error(`expected ${what}, found ${JSON.stringify(found)}`);
}
