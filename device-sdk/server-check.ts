/**
 * Connects to the servers that a bootstrap token names, as a device would, and says which check fails: TCP, the pinned root, the chain, the
 * name, the dates. Uses no token and sends nothing secret.
 */

import { defaultMqttUrl, MQTT_URL_HEADER, parseMqttUrl, TIME_PATH, urlHost } from '@rollcall/protocol';
import { findPinnedRoot } from './certificate-chain.ts';
import { asDeviceError, DeviceError } from './device-error.ts';
import { fetchCaCertificates } from './est-client.ts';
import { exchange } from './https-exchange.ts';
import { connectError, hostPortOf } from './network-error.ts';
import { isDateError, openTls, type ServerTrust, serverTrustError } from './server-verification.ts';

export interface ServerCheck {
  readonly server: 'EST' | 'MQTT';
  /** `host:port`. */
  readonly address: string;
  /** A sentence; undefined when a device can use the server. */
  readonly fault: string | undefined;
}

const TIMEOUT_MS = 10_000;
const DEFAULT_HTTPS_PORT = 443;
const DEFAULT_MQTT_PORT = 8883;

/** One or two results: the broker is asked only when the EST server is in order. Never rejects. */
export async function checkServers({
  enrollUrl,
  rootSha256,
}: {
  readonly enrollUrl: string;
  /** 64 hexadecimal digits. */
  readonly rootSha256: string;
}): Promise<readonly ServerCheck[]> {
  const est = { server: 'EST', address: hostPortOf(enrollUrl, DEFAULT_HTTPS_PORT) } as const;
  let rootPem: string;
  let mqttUrl: string;
  try {
    const root = findPinnedRoot(await fetchCaCertificates({ url: enrollUrl, root: 'unverified' }), rootSha256);
    if (root === undefined) {
      const fault = 'none of the CA certificates there is the root that the token names: the token is of another fleet';
      return [{ ...est, fault }];
    }
    rootPem = root.toString();
    const order = { method: 'GET', path: TIME_PATH, maxBytes: 4_096, timeout: TIMEOUT_MS } as const;
    const { headers } = await exchange({ url: enrollUrl, root: rootPem }, order);
    mqttUrl = parseMqttUrl(String(headers[MQTT_URL_HEADER] ?? '')) ?? defaultMqttUrl(enrollUrl);
  } catch (error) {
    return [{ ...est, fault: faultOf(asDeviceError(error, 'server_unreachable'), enrollUrl) }];
  }
  const mqtt = { server: 'MQTT', address: hostPortOf(mqttUrl, DEFAULT_MQTT_PORT) } as const;
  try {
    await proveBroker(mqttUrl, { rootsPem: rootPem, dates: 'system' });
  } catch (error) {
    const fault = faultOf(asDeviceError(error, 'server_unreachable'), mqttUrl);
    return [
      { ...est, fault: undefined },
      { ...mqtt, fault },
    ];
  }
  return [
    { ...est, fault: undefined },
    { ...mqtt, fault: undefined },
  ];
}

/**
 * A TLS handshake with the broker, without a client certificate: nobody's session is taken over by it. Rejects with `server_unreachable` or
 * `server_untrusted`.
 */
export function proveBroker(mqttUrl: string, trust: ServerTrust): Promise<void> {
  const socket = openTls({ url: mqttUrl, defaultPort: DEFAULT_MQTT_PORT, trust });
  const address = hostPortOf(mqttUrl, DEFAULT_MQTT_PORT);
  return new Promise<void>((resolve, reject) => {
    socket.setTimeout(TIMEOUT_MS, () => {
      const reason = `${address}: no answer within ${TIMEOUT_MS} ms`;
      socket.destroy(new DeviceError('server_unreachable', { reason }));
    });
    socket.once('error', (error) => reject(connectError(error, mqttUrl, DEFAULT_MQTT_PORT)));
    socket.once('secureConnect', () => {
      const doubt = serverTrustError(socket, { url: mqttUrl, trust });
      if (doubt === undefined) resolve();
      else reject(doubt);
    });
  }).finally(() => socket.destroy());
}

function faultOf(error: DeviceError, url: string): string {
  const cause = (error.cause ?? {}) as NodeJS.ErrnoException & { readonly cert?: { readonly subjectaltname?: string } };
  const code = cause.code ?? '';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const named = cause.cert?.subjectaltname?.replaceAll(/\b(?:DNS|IP Address):/g, '') ?? 'nothing';
    const host = urlHost(url);
    return `the certificate there does not name ${host}; it names ${named}: start the server with --public-host ${host}`;
  }
  if (isDateError(cause)) return `the certificate there is not valid now by the clock of this machine (${code})`;
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_'))
    return `what answers there does not speak TLS as a device does (${code})`;
  if (error.code === 'server_untrusted') {
    const why = code === '' ? error.message : code;
    return `the certificate there does not lead to the root that the token names (${why}): another server answers, or a proxy that ends TLS`;
  }
  // The address is beside it.
  return error.message.replace(
    `${hostPortOf(url, url.startsWith('mqtts:') ? DEFAULT_MQTT_PORT : DEFAULT_HTTPS_PORT)}: `,
    '',
  );
}
