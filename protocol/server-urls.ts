/**
 * The URLs by which devices reach a fleet, each in one canonical form, so that two texts that name one server are
 * equal (RFC 3986, sections 6.2.2 and 6.2.3; RFC 5952 for IPv6). Every place that makes, reads or compares such a URL
 * uses this file. An IPv4-mapped IPv6 address becomes the IPv4 address, because both are reached over IPv4.
 */

const URL_MAX = 512;
const DEFAULT_MQTT_PORT = '8883';
const DEFAULT_HTTPS_PORT = 443;
/** What would end the host or be dropped silently by the parser of URLs. */
const NOT_A_HOST = /[\s\p{Cc}@/\\?#%]/u;
const MAPPED_IPV4 = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/;

/**
 * A host name or an address as it stands in a canonical URL, but without brackets: lower case, IDN as A-labels, IPv4
 * in dotted decimal (`127.1` is `127.0.0.1`), IPv6 compressed. Undefined when no URL can hold it.
 */
export function canonicalHost(text: string): string | undefined {
  if (text.length > URL_MAX || NOT_A_HOST.test(text)) return undefined;
  const isBracketed = /^\[[^[\]]*\]$/.test(text);
  const authority = text.includes(':') && !isBracketed ? `[${text}]` : text;
  if (!URL.canParse(`https://${authority}`)) return undefined; // URL.parse is younger than the oldest Node of a device
  const { hostname, port } = new URL(`https://${authority}`);
  return hostname === '' || port !== '' ? undefined : withoutBrackets(withoutMapping(hostname));
}

/** `host:port`, an IPv6 address in brackets (RFC 3986, section 3.2.2). */
export function formatHostPort(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** `scheme://host:port`; a port that is the scheme's default is left out. The host comes from {@link canonicalHost}. */
export function serverUrl(scheme: 'http' | 'https' | 'mqtts' | 'wss', host: string, port: number): string {
  const authority = formatHostPort(host, port);
  // The scheme "mqtts" has no registered default: devices of every version read a port that is written.
  return scheme === 'mqtts' ? `mqtts://${authority}` : new URL(`${scheme}://${authority}`).origin;
}

/** `https://host:port` without path, query or credentials, in its canonical form; undefined for anything else. */
export function parseEnrollUrl(text: string): string | undefined {
  const url = parse(text, 'https:');
  return url && serverUrl('https', url.host, url.port === '' ? DEFAULT_HTTPS_PORT : Number(url.port));
}

/** `mqtts://host:port` in its canonical form; port 8883 (IANA secure-mqtt) if the text names none. */
export function parseMqttUrl(text: string): string | undefined {
  const url = parse(text, 'mqtts:');
  return url && serverUrl('mqtts', url.host, Number(url.port === '' ? DEFAULT_MQTT_PORT : url.port));
}

/** The broker beside an enroll server that names none. */
export function defaultMqttUrl(enrollUrl: string): string {
  return serverUrl('mqtts', urlHost(enrollUrl), Number(DEFAULT_MQTT_PORT));
}

/** The host of a URL as sockets take it: without brackets. */
export function urlHost(url: string): string {
  return withoutBrackets(new URL(url).hostname);
}

function parse(text: string, scheme: string): { readonly host: string; readonly port: string } | undefined {
  if (text.length > URL_MAX || /[\s\p{Cc}]/u.test(text) || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const hasMore =
    url.username !== '' ||
    url.password !== '' ||
    url.search !== '' ||
    url.hash !== '' ||
    (url.pathname !== '' && url.pathname !== '/');
  if (url.protocol !== scheme || hasMore) return undefined;
  // The parser leaves the host of a scheme that it doesn't know as it is, percent-encoded.
  const host = canonicalHost(decoded(url.hostname));
  return host === undefined ? undefined : { host, port: url.port };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // the percent sign that is left is no part of a host
  }
}

function withoutMapping(hostname: string): string {
  const [, high, low] = MAPPED_IPV4.exec(hostname) ?? [];
  if (high === undefined || low === undefined) return hostname;
  const bits = [high, low].map((group) => Number.parseInt(group, 16));
  return bits.flatMap((group) => [group >> 8, group & 0xff]).join('.');
}

function withoutBrackets(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}
