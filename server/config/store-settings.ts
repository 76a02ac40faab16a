/** Converts the settings of a store on PostgreSQL into those that open it. Secrets come from files, and never from the URL. */

import { isLoopbackHost } from '@rollcall/protocol';
import { type PostgresSettings, parsePostgresUrl } from '../../storage/postgres/index.ts';
import type { Config } from './config.ts';
import { namedSecret } from './private-files.ts';
import { loadTlsFiles } from './tls-files.ts';

export interface StoreConfig {
  /** `postgres://user@host1,host2:5432/database` */
  readonly url: string;
  /** PEM; the CAs of the system without it. */
  readonly caFile?: string | undefined;
  /** PEM: the certificate that this server shows, with its key. */
  readonly certificateFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly passwordFile?: string | undefined;
  /** How many standbys have to confirm each commit, at least. */
  readonly standbys?: number | undefined;
  readonly schema?: string | undefined;
  readonly connections?: number | undefined;
}

/**
 * TLS as in `sslmode=verify-full`, unless every host is this machine and no TLS file is named. Throws Problem `config_invalid` or
 * `private_key_exposed`; the files are read again at each connection. `now`: milliseconds since the epoch, for expiry.
 */
export function storeSettings(config: StoreConfig, now: () => number): PostgresSettings {
  const { url, caFile, certificateFile, keyFile, passwordFile, standbys, schema, connections } = config;
  const address = parsePostgresUrl(url);
  const isNamed = (caFile ?? certificateFile ?? keyFile) !== undefined;
  const isHere = address.hosts.every(({ host }) => host.startsWith('/') || isLoopbackHost(host));
  return {
    ...address,
    tls: isHere && !isNamed ? undefined : loadTlsFiles('store', config, now),
    password: namedSecret('store: passwordFile', passwordFile, undefined, {}),
    standbys,
    schema,
    connections,
  };
}

/** Of the section `store` of a configuration, where an empty text stands for what is not set. */
export function configuredStore(store: Config['store'], now: () => number): PostgresSettings {
  const named = (file: string) => file || undefined;
  return storeSettings(
    {
      ...store,
      caFile: named(store.caFile),
      certificateFile: named(store.certificateFile),
      keyFile: named(store.keyFile),
      passwordFile: named(store.passwordFile),
    },
    now,
  );
}
