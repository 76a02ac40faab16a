/**
 * Addresses of the server that a client connects to. `localhost` is resolved to the loopback addresses (RFC 6761, section 6.3), also on a
 * machine where neither /etc/hosts nor a DNS server does.
 */

interface LoopbackAddress {
  readonly address: string;
  readonly family: 4 | 6;
}

/** The servers listen on the first one by default. */
export const LOOPBACK_ADDRESSES: readonly LoopbackAddress[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
];

/** Milliseconds. After Node's 250, a host with two addresses cannot be reached over a link with a longer round trip, such as by satellite. */
const ADDRESS_TIMEOUT_MS = 5_000;

interface LookupOptions {
  readonly all?: boolean | undefined;
  readonly family?: number | 'IPv4' | 'IPv6' | undefined;
}

type LookupCallback = (error: null, address: string | LoopbackAddress[], family?: number) => void;

export function isLocalhost(host: string): boolean {
  return /^(?:.+\.)?localhost\.?$/i.test(host);
}

/** Whether a host name or an address, as a canonical URL holds it, means the machine that uses it. */
export function isLoopbackHost(host: string): boolean {
  return isLocalhost(host) || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

export interface AddressOptions {
  readonly lookup?: typeof lookupLoopback;
  readonly autoSelectFamilyAttemptTimeout: number;
}

/**
 * Options for every connection of net, tls, http and https: the addresses of localhost, and how long one address of several is waited for
 * before the next one is tried in its place.
 */
export function addressOptions(host: string): AddressOptions {
  return { autoSelectFamilyAttemptTimeout: ADDRESS_TIMEOUT_MS, ...(isLocalhost(host) && { lookup: lookupLoopback }) };
}

/** The address on which a server listens for the configured `host`. */
export function listenAddress(host: string): string {
  return isLocalhost(host) ? (LOOPBACK_ADDRESSES[0] as LoopbackAddress).address : host;
}

function lookupLoopback(_host: string, { all, family }: LookupOptions, callback: LookupCallback): void {
  const wanted = Number(String(family ?? 0).replace('IPv', ''));
  const addresses = LOOPBACK_ADDRESSES.filter((one) => wanted === 0 || one.family === wanted);
  const [first] = addresses as [LoopbackAddress];
  // Node expects the callback of a lookup after the call has returned.
  process.nextTick(() => {
    if (all) callback(null, [...addresses]);
    else callback(null, first.address, first.family);
  });
}
