/** Why a server could not be reached or believed, in words: host, port, and the reason that the system or TLS has. Opens no connection. */

import { formatHostPort, isLoopbackHost, parseDecimal, urlHost } from '@rollcall/protocol';
import { DeviceError } from './device-error.ts';

/** Words for the system's codes; other codes stand alone. */
const SYSTEM_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing accepts connections there',
  EHOSTUNREACH: 'no machine with this address answers',
  ENETUNREACH: 'this machine has no route to that network',
  ETIMEDOUT: 'no answer came',
  ECONNRESET: 'the connection was closed',
};

type NetworkError = NodeJS.ErrnoException & { readonly hostname?: string };

/** `server_unreachable` or `server_untrusted`, for an error of a socket that connects to `url`. */
export function connectError(error: NetworkError, url: string, defaultPort: number): DeviceError {
  if (error instanceof DeviceError) return error;
  const code = isNetworkError(error) ? 'server_unreachable' : 'server_untrusted';
  return new DeviceError(code, {
    reason: `${hostPortOf(url, defaultPort)}: ${networkReason(error, url)}`,
    cause: error,
  });
}

/** `host:port`, as messages name a server. */
export function hostPortOf(url: string, defaultPort: number): string {
  return formatHostPort(urlHost(url), parseDecimal(new URL(url).port, 0, 65_535) ?? defaultPort);
}

/** The error's code, with words for it. */
export function networkReason(error: NetworkError, url?: string): string {
  if (error.syscall === 'getaddrinfo') return `${error.code}, the name ${error.hostname} does not resolve`;
  const { code } = error;
  if (code === undefined) return error.message;
  if (url === undefined || SYSTEM_REASONS[code] === undefined) return code;
  const isThisMachine = isLoopbackHost(urlHost(url)) ? '; that name is this machine itself' : '';
  return `${code}, ${SYSTEM_REASONS[code]}${isThisMachine}`;
}

/** Nobody answered or the line broke, as opposed to TLS and its certificate check. EPROTO is OpenSSL's failure in disguise. */
export function isNetworkError(error: NodeJS.ErrnoException): boolean {
  const code = error.code ?? '';
  return code !== 'EPROTO' && /^E(AI_)?[A-Z0-9]+$/.test(code);
}
