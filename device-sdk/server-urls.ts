/** The two addresses a device knows, checked once where they enter. */

/** `https://host:port` without path, query or credentials, as an origin; undefined for anything else. */
export function parseEnrollUrl(text: string): string | undefined {
  const url = parse(text);
  return url?.protocol === 'https:' ? url.origin : undefined;
}

/** `mqtts://host:port` without path, query or credentials; port 8883 (IANA secure-mqtt) if it names none. */
export function parseMqttUrl(text: string): string | undefined {
  const url = parse(text);
  if (url?.protocol !== 'mqtts:') return undefined;
  return `mqtts://${url.hostname}:${url.port === '' ? DEFAULT_MQTT_PORT : url.port}`;
}

/** The broker beside an enroll server that names none. */
export function defaultMqttUrl(enrollUrl: string): string {
  return `mqtts://${new URL(enrollUrl).hostname}:${DEFAULT_MQTT_PORT}`;
}

const DEFAULT_MQTT_PORT = '8883';

function parse(text: string): URL | undefined {
  if (text.length > 512 || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const hasMore =
    url.username !== '' ||
    url.password !== '' ||
    url.search !== '' ||
    url.hash !== '' ||
    (url.pathname !== '' && url.pathname !== '/');
  return hasMore || url.hostname === '' ? undefined : url;
}
