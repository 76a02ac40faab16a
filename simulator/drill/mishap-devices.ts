import type { StoredIdentity } from '@rollcall/device-sdk';
import { waitUntil } from '../wait-until.ts';
import { DrillDevice, type DrillDeviceOptions } from './drill-device.ts';
import { DRILL_GROUP, type DrillOperator, type Mishap, type ReplacedRole } from './drill-options.ts';
import { TrustBundleSubscriber } from './trust-bundle-subscriber.ts';
import { crossSignedUntil, rootFingerprints } from './trusted-roots.ts';

const YEAR_MS = 365 * 24 * 3_600_000;
const SKEW_MS = 10 * YEAR_MS;
const ANSWER_MS = 15_000;

export interface MishapDevicesOptions {
  readonly operator: DrillOperator;
  readonly replaced: ReplacedRole;
  /** From before the rotation, with {@link tokenUsesFor} uses. */
  readonly token: string;
  readonly haste: number;
  readonly signal: AbortSignal;
  /** Told what was expected and what was found. */
  readonly failed: (failure: string) => void;
}

/** How many of them enroll with a token of before. */
export function tokenUsesFor(replaced: ReplacedRole): number {
  return replaced === 'root' ? 8 : 5;
}

interface Outcome {
  readonly name: Mishap['name'];
  readonly about: string;
  readonly expected: Mishap['expected'];
  readonly isAsExpected: boolean;
  /** Said when it is as expected, and when it isn't. */
  readonly words: readonly [good: string, bad: string];
  readonly remedy?: string;
}

export class MishapDevices {
  readonly #options: MishapDevicesOptions;
  readonly #mishaps: Mishap[] = [];
  readonly #away: DrillDevice;
  readonly #left: DrillDevice;
  readonly #slow: DrillDevice;
  readonly #fast: DrillDevice;
  readonly #unrenewed: DrillDevice;
  readonly #pinned: DrillDevice;
  readonly #meanwhile: DrillDevice;
  readonly #afterwards: DrillDevice;
  #listener: TrustBundleSubscriber | undefined;
  #unaware: StoredIdentity | undefined;
  #oldIssuer: string | undefined;
  #oldRoots: readonly string[] = [];

  constructor(options: MishapDevicesOptions) {
    this.#options = options;
    const { token, haste, signal } = options;
    const probe = (name: string, own: Partial<DrillDeviceOptions> = {}) =>
      new DrillDevice({ id: `${DRILL_GROUP}-${name}`, token, skew: 0, trusts: 'what it hears', haste, signal, ...own });
    this.#away = probe('away');
    this.#left = probe('left');
    this.#slow = probe('slow', { skew: -SKEW_MS });
    this.#fast = probe('fast', { skew: SKEW_MS });
    this.#unrenewed = probe('unrenewed');
    this.#pinned = probe('pinned', { trusts: 'its first root' });
    this.#meanwhile = probe('meanwhile');
    this.#afterwards = probe('afterwards');
  }

  /** Those that hold a certificate of before. */
  get holders(): number {
    return this.#isOfRoot ? 6 : 5;
  }

  /** Those of them that should renew. */
  get renewing(): number {
    return this.holders - 2;
  }

  get mishaps(): readonly Mishap[] {
    return this.#mishaps;
  }

  /** The trust bundle that was delivered last, PEM. */
  get bundle(): string {
    return this.#listener?.bundle ?? '';
  }

  /** Identity of one that was offline from before it began, as it was then. */
  get unaware(): StoredIdentity | undefined {
    return this.#unaware;
  }

  /** Identities of those that have seen all of it, or came back while it was under way. */
  async aware(): Promise<readonly StoredIdentity[]> {
    const found = await Promise.all([this.#away, this.#slow, this.#fast].map((probe) => probe.identity));
    return found.filter((identity) => identity !== undefined);
  }

  get #isOfRoot(): boolean {
    return this.#options.replaced === 'root';
  }

  /** All that are there before it begins; then two of them leave. */
  async arrive(): Promise<void> {
    for (const probe of [this.#away, this.#left, this.#slow, this.#fast, this.#unrenewed]) await this.#letIn(probe);
    if (this.#isOfRoot) await this.#letIn(this.#pinned);
    await this.#listen();
    this.#unaware = await this.#left.identity;
    this.#oldIssuer = await this.#away.issuer();
    this.#oldRoots = await this.#away.roots();
    await Promise.all([this.#away.close(), this.#left.close()]);
  }

  /** Half of the fleet has renewed. */
  async comeBack(): Promise<void> {
    await this.#letIn(this.#away);
  }

  /** Another root signs, and the old one still counts. */
  async unpack(): Promise<void> {
    if (!this.#isOfRoot) return;
    const isIn = await this.#meanwhile.connect();
    this.#add({
      name: 'unpacked meanwhile',
      about: 'a new device with a bootstrap token of before, while both roots count',
      expected: 'kept',
      isAsExpected: isIn && (await this.#meanwhile.issuer()) !== this.#oldIssuer,
      words: ['it enrolled, by the old root', `it did not enroll: ${this.#meanwhile.lastError}`],
    });
  }

  /** It is over. */
  async verify(): Promise<void> {
    await this.#verifyUnrenewed();
    await this.#verifyLeft();
    const kept = ['it renewed and is connected', 'it has its old certificate, or none that counts'] as const;
    for (const [name, about, probe] of [
      ['away', 'offline until half of the fleet had renewed', this.#away],
      ['clock slow', "the SDK's clock ten years behind", this.#slow],
      ['clock fast', "the SDK's clock ten years ahead", this.#fast],
    ] as const) {
      this.#add({ name, about, expected: 'kept', isAsExpected: await this.#isWell(probe), words: kept });
    }
    if (this.#isOfRoot) {
      await this.#verifyPinned();
      await this.#verifyAfterwards();
    }
  }

  async close(): Promise<void> {
    this.#listener?.close();
    const all = [this.#away, this.#left, this.#slow, this.#fast, this.#unrenewed, this.#pinned];
    await Promise.all([...all, this.#meanwhile, this.#afterwards].map((probe) => probe.close()));
  }

  async #letIn(probe: DrillDevice): Promise<void> {
    if (!(await probe.connect())) this.#options.failed(`expected ${probe.id} to be accepted, found ${probe.lastError}`);
  }

  /** Goes on as a raw client with what the SDK enrolled. */
  async #listen(): Promise<void> {
    const identity = await this.#unrenewed.identity;
    await this.#unrenewed.close();
    if (identity === undefined) throw new Error('expected a device that is enrolled');
    const { keyPem, certificatePem, rootPem, deviceId, mqttUrl } = identity;
    const leaf = certificatePem.slice(0, certificatePem.indexOf('-----END') + 25);
    const listener = new TrustBundleSubscriber({ id: deviceId, mqttUrl, keyPem, certificatePem: leaf, rootPem });
    this.#listener = listener;
    if (!(await listener.open())) this.#options.failed('expected a raw client to be accepted, found it refused');
    // The retained bundle; later ones are new.
    const isThere = await waitUntil(() => listener.bundle !== '', { within: ANSWER_MS, signal: this.#options.signal });
    if (!isThere) this.#options.failed('expected a retained trust bundle, found none');
  }

  /** Where the root was replaced, the device must connect with the new root alone. */
  async #isWell(probe: DrillDevice): Promise<boolean> {
    if (!probe.isConnected || (await probe.issuer()) === this.#oldIssuer) return false;
    if (!this.#isOfRoot) return true;
    const trusted = await probe.roots();
    // The listener was disconnected with the old issuing CA: the last bundle that it received still holds both roots.
    const wanted = rootFingerprints(this.bundle).filter((root) => !this.#oldRoots.includes(root));
    if (trusted.length !== wanted.length || trusted.some((root) => !wanted.includes(root))) return false;
    await probe.close();
    return probe.connect();
  }

  async #verifyUnrenewed(): Promise<void> {
    const listener = this.#listener as TrustBundleSubscriber;
    const hasEnded = await waitUntil(() => !listener.isConnected, { within: ANSWER_MS, signal: this.#options.signal });
    const isAcceptedAgain = hasEnded && (await listener.open());
    this.#add({
      name: 'unrenewed',
      about: 'stayed connected and never renewed',
      expected: 'lost',
      isAsExpected: hasEnded && !isAcceptedAgain,
      words: [
        'its session was ended, and it was refused',
        hasEnded ? 'it was accepted again' : 'its session continues',
      ],
      remedy: 'before it ends: see who is late with "rollcall renewals status", and give it a client that renews',
    });
  }

  async #verifyLeft(): Promise<void> {
    const left = this.#left;
    const isKept = await left.connect();
    const said = left.lastError;
    const isBack = !isKept && (await left.enrollAgain(await this.#options.operator.createTokenFor(left.id)));
    this.#add({
      name: 'left',
      about: 'offline from before it began until after it ended',
      expected: 'lost',
      isAsExpected: !isKept,
      words: [
        `${said}; ${isBack ? 'a token created for it brought it back' : 'a token created for it did not bring it back'}`,
        'it was accepted with its old certificate',
      ],
      remedy: 'rollcall token create --device ID, and enroll it with that',
    });
    if (!isKept && !isBack)
      this.#options.failed(`expected a token to bring back who was lost, found ${left.lastError}`);
  }

  async #verifyPinned(): Promise<void> {
    const end = crossSignedUntil(this.bundle);
    const hasRenewed = (await this.#pinned.issuer()) !== this.#oldIssuer;
    await this.#pinned.close();
    const isIn = await this.#pinned.connect();
    this.#add({
      name: 'pinned',
      about: 'renews, and trusts the old root alone for ever',
      expected: 'kept',
      isAsExpected: hasRenewed && isIn && end !== undefined,
      words: [`the old root still vouches for the new one, until ${end}`, `it can't get in: ${this.#pinned.lastError}`],
      remedy: `before ${end}: give it the new root (trust-bundle.pem in the data directory)`,
    });
  }

  async #verifyAfterwards(): Promise<void> {
    const late = this.#afterwards;
    const isKept = await late.connect();
    const said = late.lastError;
    const isBack = !isKept && (await late.enrollAgain(await this.#options.operator.createTokenFor(late.id)));
    this.#add({
      name: 'unpacked afterwards',
      about: 'a new device with a bootstrap token of before, which names the old root',
      expected: 'lost',
      isAsExpected: !isKept,
      words: [
        `${said}; ${isBack ? 'a new token let it in' : 'a new token did not let it in'}`,
        'it enrolled by a root that is retired',
      ],
      remedy: 'mint the tokens anew that are not used up; each names a root',
    });
    if (!isKept && !isBack) this.#options.failed(`expected a new token to let it in, found ${late.lastError}`);
  }

  #add({ name, about, expected, isAsExpected, words: [good, bad], remedy }: Outcome): void {
    const other = expected === 'kept' ? 'lost' : 'kept';
    const found = isAsExpected ? expected : other;
    this.#mishaps.push({ name, about, expected, found, said: isAsExpected ? good : bad, remedy });
    if (!isAsExpected) this.#options.failed(`expected who was ${name} to be ${expected}, found: ${bad}`);
  }
}
