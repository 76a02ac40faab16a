/**
 * How a device gets its first certificate and the ones after it. Each road is written as its steps; the invariant of
 * both: the private key never leaves, and no secret is sent to a server that has not proved it belongs to the fleet.
 */

import { X509Certificate } from 'node:crypto';
import {
  type DeviceId,
  defaultMqttUrl,
  formatIdentity,
  identityName,
  NAME_RULE,
  parseBootstrapToken,
  parseDeviceId,
  parseEnrollUrl,
  parseMqttUrl,
} from '@rollcall/protocol';
import {
  deviceIdOf,
  findPinnedRoot,
  holderOf,
  identityUriOf,
  parseCertificates,
  verifyChain,
} from './certificate-chain.ts';
import { requestCsr } from './csr.ts';
import { DeviceError } from './device-error.ts';
import { fetchCaCertificates, type IssuedCertificates, simpleEnroll, simpleReenroll } from './est-client.ts';
import type { HttpsPeer, PeerClock } from './https-exchange.ts';
import type {
  Credentials,
  IdentityStore,
  PendingRequest,
  PendingRequestStore,
  StoredIdentity,
} from './identity-store.ts';
import { type KeyProvider, pemKeys, publicKeyOf } from './key-provider.ts';
import { revocationListsOf } from './trust-bundle.ts';

export interface EnrollmentOptions {
  /** Bootstrap token text. Needed once, on the first run. */
  readonly token?: string;
  /** The name asked for; the server chooses if it is left out and the token names none. */
  readonly deviceId?: string;
  /** In place of the token's own, and later of the identity's: for a server that is reached under another name, or that moved. */
  readonly enrollUrl?: string;
  /** In place of the token's own: SHA-256 of the root certificate's DER, 64 hexadecimal digits. */
  readonly rootSha256?: string;
  /** In place of what the server announces: one broker, or several that are tried in turn. */
  readonly mqttUrl?: string | readonly string[];
  /** Who holds the private keys, in place of the device's own directory. */
  readonly keys?: KeyProvider;
  /** Judges the dates of servers in place of the system's clock, and learns the time from those that proved themselves. */
  readonly clock?: PeerClock;
  /** Whether a token may take a device that has an identity to a root that it doesn't trust. The former identity is kept aside. */
  readonly replaceFleet?: boolean;
  /** Ends the enrollment; the next try goes on with the same key. It has no meaning once there is an identity. */
  readonly signal?: AbortSignal;
}

/** @deprecated The former name of {@link EnrollmentOptions}. */
export type EnrollmentOrder = EnrollmentOptions;

/**
 * The identity in the store; without one, the bootstrap token is exchanged for it. It rejects with a DeviceError and
 * asks only once; `retryAfter` tells when the server would like to be asked again.
 */
export async function enrollOnce(store: IdentityStore, options: EnrollmentOptions): Promise<StoredIdentity> {
  const identity = (await loadIdentity(store, options)) ?? (await enroll(store, options));
  return { ...identity, mqttUrl: checkedMqttUrls(options.mqttUrl)?.[0] ?? identity.mqttUrl };
}

/** Undefined when there is none; rejects with `identity_unusable` when it is damaged or of another device. */
export async function loadIdentity(
  store: IdentityStore,
  options: EnrollmentOptions,
): Promise<StoredIdentity | undefined> {
  const stored = await store.load();
  if (stored === undefined) return undefined;
  await checkStored(stored, options);
  return { ...stored, enrollUrl: checkedEnrollUrl(options.enrollUrl) ?? stored.enrollUrl };
}

async function checkStored(stored: StoredIdentity, options: EnrollmentOptions): Promise<void> {
  if (options.deviceId !== undefined && options.deviceId !== stored.deviceId) {
    throw unusable(`expected device ${options.deviceId}, found ${stored.deviceId}`);
  }
  let isPair: boolean;
  try {
    if (parseCertificates(stored.rootPem).length === 0) throw unusable('expected a root certificate in PEM');
    const ours = await publicKeyOf(options.keys ?? pemKeys, stored.keyPem);
    isPair = new X509Certificate(stored.certificatePem).publicKey.equals(ours);
  } catch (error) {
    if (error instanceof DeviceError) throw error;
    throw unusable('expected a key and certificates in PEM'); // OpenSSL's own words could say something of the key
  }
  if (!isPair) throw unusable('the certificate belongs to another key');
}

/** Exchanges a bootstrap token for an identity, which takes the place of the one in the store if there is one. */
export async function enroll(store: IdentityStore, options: EnrollmentOptions): Promise<StoredIdentity> {
  // 1. Everything that can be wrong without asking anybody.
  const credential = parseOptions(options);
  const former = await formerFleet(store, credential.rootSha256);
  if (former !== undefined) await leaveFleet(store, former, options);

  // 2. Ask a server nobody trusts yet for its CA certificates, and find the one that the token pins.
  const authorities = await fetchCaCertificates({ ...peerOf(credential), root: 'unverified' });
  const root = findPinnedRoot(authorities, credential.rootSha256);
  if (root === undefined) {
    throw new DeviceError('server_untrusted', { reason: 'none of its CA certificates is the one the token names' });
  }

  // 3. Ask again over a connection that the root vouches for, with a key that is on disk before the request leaves.
  const rootPem = root.toString();
  const rootCrlPem = await heldListsOf(store, rootPem);
  const peer: HttpsPeer = { ...peerOf(credential), root: rootPem, rootCrl: rootCrlPem };
  const login = { user: credential.deviceId ?? '', token: credential.token };
  const { pending, issued } = await askWithStoredKey(
    { store, keys: credential.keys, commonName: login.user, uri: undefined },
    (csr) => simpleEnroll(peer, csr, login),
  );

  // 4. Believe nothing that the chain does not prove.
  const key = await publicKeyOf(credential.keys, pending.keyPem);
  const { leaf, certificatePem } = verifyChain(issued.certificates, authorities, [root], key);
  const deviceId = deviceIdOf(leaf);
  if (credential.deviceId !== undefined && deviceId !== credential.deviceId) {
    throw new DeviceError('answer_invalid', { reason: 'the certificate names another device than was asked for' });
  }

  // 5. Key, certificate, root and addresses become the device's identity in one step.
  const identity: StoredIdentity = {
    deviceId,
    enrollUrl: credential.enrollUrl,
    // What the caller names in its place holds for as long as the caller names it, and isn't kept.
    mqttUrl: announcedMqttUrl(issued) ?? credential.mqttUrl ?? defaultMqttUrl(credential.enrollUrl),
    keyPem: pending.keyPem,
    certificatePem,
    rootPem,
    ...(rootCrlPem !== '' && { rootCrlPem }),
  };
  if (former !== undefined) await store.keepAside?.(former);
  await store.commit(identity);
  return identity;
}

/** Rejects with `fleet_differs` when the token names a root that the stored identity does not trust. It asks nobody. */
export async function requireSameFleet(store: IdentityStore, options: EnrollmentOptions): Promise<void> {
  if ((await formerFleet(store, parseOptions(options).rootSha256)) !== undefined)
    throw new DeviceError('fleet_differs');
}

async function leaveFleet(store: IdentityStore, former: StoredIdentity, options: EnrollmentOptions): Promise<void> {
  if (options.replaceFleet !== true) throw new DeviceError('fleet_differs');
  // An interrupted renewal left a request that names the former fleet, which another one refuses.
  const uri = identityUriOf(new X509Certificate(former.certificatePem));
  const pending = await store.loadPending();
  if (uri !== undefined && pending?.csr.includes(uri) === true) await store.dropPending();
}

/** The stored identity when it does not trust the root that a token names. */
async function formerFleet(store: IdentityStore, rootSha256: string): Promise<StoredIdentity | undefined> {
  const stored = await store.load();
  if (stored === undefined) return undefined;
  return findPinnedRoot(parseCertificates(stored.rootPem), rootSha256) === undefined ? stored : undefined;
}

/** A device that enrolls again keeps what it knows to be revoked. A store that is damaged knows nothing. */
async function heldListsOf(store: IdentityStore, rootPem: string): Promise<string> {
  const earlier = await store.load().catch(() => undefined);
  return earlier === undefined ? '' : revocationListsOf(earlier.rootCrlPem ?? '', rootPem);
}

/**
 * The next identity of a device or service, with a new key, authenticated by the current one (RFC 7030, section 4.2.2).
 * It isn't the holder's yet: the caller commits it once it has worked, and until then the same key is asked for again, so a crash in between
 * costs nothing. A certificate that has ended is recovered with the key that it has. `signal` ends the try; the next one goes on with the same key.
 */
export async function requestRenewal<Identity extends Credentials>(
  store: PendingRequestStore,
  current: Identity,
  { signal, clock, keys = pemKeys }: Pick<EnrollmentOptions, 'signal' | 'clock' | 'keys'> = {},
): Promise<Identity> {
  const roots = parseCertificates(current.rootPem);
  const leaf = new X509Certificate(current.certificatePem);
  const { rootPem: root, rootCrlPem: rootCrl } = current;
  const peer: HttpsPeer = { url: current.enrollUrl, root, rootCrl, signal, clock };
  const authorities = await fetchCaCertificates(peer);
  const holder = holderOf(leaf);
  const names = { commonName: identityName(holder), uri: identityUriOf(leaf) };
  const ask = (csr: Buffer) => simpleReenroll({ ...peer, credential: { ...current, keys } }, csr);
  const { pending, issued } = await askWithStoredKey({ store, keys, ...names }, ask).catch(async (error: unknown) => {
    if (!(error instanceof DeviceError) || error.code !== 'certificate_expired') throw error;
    // The server knows the time better than a device that lay in a warehouse. It may give one more for the old key.
    const own = await requestFor(current.keyPem, keys, names.commonName, names.uri);
    return { pending: own, issued: await ask(own.csr) };
  });
  const { leaf: next, certificatePem } = verifyChain(
    issued.certificates,
    authorities,
    roots,
    await publicKeyOf(keys, pending.keyPem),
  );
  if (formatIdentity(holderOf(next)) !== formatIdentity(holder)) {
    throw new DeviceError('answer_invalid', { reason: 'the new certificate names another device' });
  }
  return {
    ...current,
    mqttUrl: announcedMqttUrl(issued) ?? current.mqttUrl,
    keyPem: pending.keyPem,
    certificatePem,
  };
}

/**
 * Sends the request of an earlier, interrupted try if there is one for the same name, so that the server can recognize
 * it. A server that saw this key elsewhere gets a fresh one, once.
 */
async function askWithStoredKey(
  request: {
    readonly store: PendingRequestStore;
    readonly keys: KeyProvider;
    readonly commonName: string;
    readonly uri: string | undefined;
  },
  ask: (csr: Buffer) => Promise<IssuedCertificates>,
): Promise<{ readonly pending: PendingRequest; readonly issued: IssuedCertificates }> {
  const { store, keys, commonName, uri } = request;
  const earlier = await store.loadPending();
  if (earlier !== undefined && earlier.commonName === commonName) {
    try {
      return { pending: earlier, issued: await ask(earlier.csr) };
    } catch (error) {
      if (!(error instanceof DeviceError) || error.code !== 'csr_key_reused') throw error;
      await store.dropPending();
    }
  }
  const pending = await makeRequest(keys, commonName, uri);
  await store.savePending(pending);
  return { pending, issued: await ask(pending.csr) };
}

async function makeRequest(keys: KeyProvider, commonName: string, uri: string | undefined): Promise<PendingRequest> {
  return requestFor(await keys.make(), keys, commonName, uri);
}

async function requestFor(
  keyPem: string,
  keys: KeyProvider,
  commonName: string,
  uri: string | undefined,
): Promise<PendingRequest> {
  const subject = { ...(commonName === '' ? {} : { commonName }), ...(uri === undefined ? {} : { uri }) };
  const csr = await requestCsr(await keys.publicKey(keyPem), subject, (data) => keys.sign(keyPem, data));
  return { commonName, csr, keyPem };
}

function peerOf({ enrollUrl, signal, clock }: Credential): Pick<HttpsPeer, 'url' | 'signal' | 'clock'> {
  return { url: enrollUrl, signal, clock };
}

interface Credential {
  readonly token: string;
  readonly deviceId: DeviceId | undefined;
  readonly enrollUrl: string;
  readonly rootSha256: string;
  readonly mqttUrl: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly clock: PeerClock | undefined;
  readonly keys: KeyProvider;
}

function parseOptions(options: EnrollmentOptions): Credential {
  const token = options.token?.trim();
  if (token === undefined || token === '') throw new DeviceError('token_required');
  const parsed = parseBootstrapToken(token);
  const enrollUrl = checkedEnrollUrl(options.enrollUrl) ?? parsed?.enrollUrl;
  const rootSha256 = (options.rootSha256 ?? parsed?.rootSha256)?.replaceAll(':', '').toLowerCase();
  // A server of another make has tokens of another shape; then the pin and the address must come from the caller.
  if (enrollUrl === undefined || (parsed === undefined && rootSha256 === undefined)) {
    throw new DeviceError('token_malformed');
  }
  if (rootSha256 === undefined || !/^[0-9a-f]{64}$/.test(rootSha256)) {
    throw invalid('expected the SHA-256 of the root as 64 hexadecimal digits');
  }
  const deviceId = options.deviceId === undefined ? undefined : parseDeviceId(options.deviceId);
  if (options.deviceId !== undefined && deviceId === undefined) {
    throw new DeviceError('device_id_invalid', { reason: `expected ${NAME_RULE}` });
  }
  const { signal, clock, keys = pemKeys } = options;
  return {
    token,
    deviceId,
    enrollUrl,
    rootSha256,
    mqttUrl: checkedMqttUrls(options.mqttUrl)?.[0],
    signal,
    clock,
    keys,
  };
}

/** The caller's own address of the enroll server, checked; undefined if there is none. Throws `request_invalid`. */
export function checkedEnrollUrl(given: EnrollmentOptions['enrollUrl']): string | undefined {
  if (given === undefined) return undefined;
  const url = parseEnrollUrl(given);
  if (url === undefined) throw invalid('expected an enroll URL of the form https://host:port');
  return url;
}

/** The caller's own MQTT addresses, checked; undefined if there are none. Throws `request_invalid`. */
export function checkedMqttUrls(given: EnrollmentOptions['mqttUrl']): readonly string[] | undefined {
  if (given === undefined) return undefined;
  const urls = (typeof given === 'string' ? [given] : given).map(parseMqttUrl);
  if (urls.length === 0 || urls.includes(undefined))
    throw invalid('expected an MQTT URL of the form mqtts://host:port');
  return urls as readonly string[];
}

function announcedMqttUrl(issued: IssuedCertificates): string | undefined {
  if (issued.mqttUrl === undefined) return undefined;
  const url = parseMqttUrl(issued.mqttUrl);
  if (url === undefined) throw new DeviceError('answer_invalid', { reason: 'the announced MQTT URL is not one' });
  return url;
}

function invalid(reason: string): DeviceError {
  return new DeviceError('request_invalid', { reason });
}

function unusable(reason: string): DeviceError {
  return new DeviceError('identity_unusable', { reason });
}
