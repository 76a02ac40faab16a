/** Converts the settings of wakes over NATS into those that open them. Secrets come from files, and never from the URL. */

import { isLoopbackHost, Problem } from '@rollcall/protocol';
import type { NatsWakesSettings } from '../../storage/index.ts';
import { namedSecret } from './private-files.ts';
import { STORE_WAKES, type WakesConfig } from './store-config.ts';
import { expectNoTlsFiles, loadTlsFiles } from './tls-files.ts';

const DEFAULT_PORT = 4222;

/**
 * Undefined: the store wakes by LISTEN. Throws Problem `config_invalid` or `private_key_exposed`; the files are read again at each
 * connection. `schema`: that of the store, by which fleets differ. `now`: milliseconds since the epoch, for expiry.
 */
export function wakesSettings(config: WakesConfig, schema: string, now: () => number): NatsWakesSettings | undefined {
  const { url, subject, user } = config;
  if (url === STORE_WAKES) return undefined;
  const [scheme = '', hosts = ''] = url.split('://');
  const addresses = hosts.split(',').map(addressOf);
  if (scheme === 'nats' && !addresses.every(({ hostname }) => isLoopbackHost(hostname.replace(/^\[(.*)\]$/, '$1')))) {
    throw new Problem('config_invalid', {
      reason: 'store.wakes.url: expected tls://; nats:// may only go to this machine',
    });
  }
  const files = {
    caFile: config.caFile || undefined,
    certificateFile: config.certificateFile || undefined,
    keyFile: config.keyFile || undefined,
  };
  const tls =
    scheme === 'tls'
      ? loadTlsFiles('store.wakes', files, now)
      : expectNoTlsFiles('store.wakes', files, 'a URL of tls://');
  const secret = (what: string, file: string) => namedSecret(`store.wakes: ${what}`, file || undefined, undefined, {});
  return {
    servers: addresses.map(({ hostname, port }) => `${hostname}:${port || DEFAULT_PORT}`),
    tls: tls === 'none' ? undefined : tls,
    subject: `${subject}.${schema}`,
    user: user || undefined,
    password: secret('passwordFile', config.passwordFile),
    token: secret('tokenFile', config.tokenFile),
    credentials: secret('credentialsFile', config.credentialsFile),
    nkey: secret('nkeyFile', config.nkeyFile),
  };
}

function addressOf(host: string): URL {
  const url = `tls://${host}`;
  if (URL.canParse(url)) return new URL(url);
  throw new Problem('config_invalid', { reason: 'store.wakes.url: expected hosts as host:port' });
}
