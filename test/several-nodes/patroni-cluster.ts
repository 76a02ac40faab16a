/** PostgreSQL under Patroni with etcd, from Debian packages and the configuration of the page, each "host" an address of the loopback network. */

import { type ChildProcess, execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseDecimal } from '@rollcall/protocol';
import pg from 'pg';
import { endChild, spawnChild } from '../../cli/demo/child-processes.ts';
import { findPostgres, postgresOwner } from '../../cli/demo/postgres-programs.ts';
import { documentedConfig, withReplaced } from '../fixtures/documented-config.ts';

const PAGE = new URL('../../docs/grow-beyond-one-machine.md', import.meta.url);
const SUPERUSER_PASSWORD = 'superuser of the script';
const PASSWORD = 'rollcall of the script';
const WITHIN_MS = 180_000;

interface Host {
  readonly name: string;
  readonly address: string;
  readonly directory: string;
  etcd?: ChildProcess;
  patroni?: ChildProcess;
}

export class PatroniCluster {
  readonly hosts: readonly Host[];
  /** For `store` of a node. */
  readonly store: {
    readonly url: string;
    readonly caFile: string;
    readonly passwordFile: string;
    readonly standbys: 1;
  };
  /** The last one that was asked. */
  #asked: Host | undefined;
  readonly #bin = findPostgres(process.env.PATH);
  readonly #owner = postgresOwner();

  /** In a directory that the user of PostgreSQL may enter. Resolves when there are a primary and a synchronous standby. */
  static async start(directory: string): Promise<PatroniCluster> {
    const cluster = new PatroniCluster(directory);
    try {
      for (const host of cluster.hosts) cluster.#startEtcd(host, 'new');
      for (const host of cluster.hosts) cluster.#startPatroni(host);
      const primary = await cluster.untilPrimary();
      await cluster.#until('a synchronous standby', () => cluster.#states().then((all) => all.includes('synchronous')));
      cluster.#createDatabase(primary);
      return cluster;
    } catch (error) {
      await cluster.dispose();
      throw error;
    }
  }

  private constructor(directory: string) {
    this.hosts = [1, 2, 3].map((number) => {
      const host = { name: `db-${number}`, address: `127.0.2.${number}`, directory: join(directory, `db-${number}`) };
      mkdirSync(host.directory, { mode: 0o700 });
      return host;
    });
    const certificate = join(directory, 'database.crt');
    const key = join(directory, 'database.key');
    const names = this.hosts.map(({ address }) => `IP:${address}`).join();
    const form = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=db'];
    const made = ['-addext', `subjectAltName=${names}`, '-keyout', key, '-out', certificate, '-days', '2'];
    execFileSync('openssl', [...form, ...made], { stdio: 'pipe' });
    const passwordFile = join(directory, 'database-password');
    writeFileSync(passwordFile, PASSWORD, { mode: 0o600 });
    for (const host of this.hosts) this.#prepare(host, { certificate, key });
    const addresses = this.hosts.map(({ address }) => address).join();
    this.store = { url: `postgres://rollcall@${addresses}/rollcall`, caFile: certificate, passwordFile, standbys: 1 };
  }

  /** The host whose PostgreSQL is the primary, as Patroni says; undefined without one. */
  async primary(): Promise<Host | undefined> {
    const states = await this.#states();
    return this.hosts[states.indexOf('primary')];
  }

  /** Another one than `former`. */
  async untilPrimary(former?: Host): Promise<Host> {
    let found: Host | undefined;
    await this.#until('a primary', async () => {
      found = await this.primary();
      return found !== undefined && found !== former;
    });
    return found as Host;
  }

  /** Resolves when a primary answers. */
  async untilAnswered(): Promise<void> {
    await this.#until('an answer of a primary', () =>
      this.ask('SELECT 1').then(
        () => true,
        () => false,
      ),
    );
  }

  /** One statement in the database of the nodes, as superuser, on a connection of its own. Throws while there is no primary. */
  async ask<Row extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    this.#asked ??= await this.primary();
    if (this.#asked === undefined) throw new Error('there is no primary');
    const client = new pg.Client({
      ...{ host: this.#asked.address, database: 'rollcall', user: 'postgres', password: SUPERUSER_PASSWORD },
      ssl: { ca: readFileSync(this.store.caFile) },
      connectionTimeoutMillis: 2_000,
      query_timeout: 10_000,
    });
    client.on('error', () => {});
    try {
      await client.connect();
      const { rows } = await client.query<{ standby: boolean }>('SELECT pg_is_in_recovery() AS standby');
      if (rows[0]?.standby !== false) throw new Error('the primary is another host');
      return (await client.query<Row>(sql, [...values])).rows;
    } catch (error) {
      this.#asked = undefined;
      throw error;
    } finally {
      await client.end().catch(() => {});
    }
  }

  /** As the loss of its power: etcd, Patroni and all processes of PostgreSQL. */
  killHost(host: Host): void {
    host.patroni?.kill('SIGKILL');
    this.killPostgres(host);
    host.etcd?.kill('SIGKILL');
  }

  killPostgres({ directory }: Host): void {
    const [first = ''] = readFileSync(join(directory, 'data', 'postmaster.pid'), 'utf8').split('\n');
    const pid = parseDecimal(first, 2) as number;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
    for (const one of [pid, ...children.map(Number)]) {
      try {
        process.kill(one, 'SIGKILL');
      } catch {} // it ended with its server
    }
  }

  startHost(host: Host): void {
    this.#startEtcd(host, 'existing');
    this.#startPatroni(host);
  }

  /** Resolves when all three take part again. */
  async untilWhole(): Promise<void> {
    await this.#until('three hosts', async () => {
      const states = await this.#states();
      return states.includes('primary') && states.includes('synchronous') && !states.includes('gone');
    });
  }

  async dispose(): Promise<void> {
    // Patroni ends its PostgreSQL.
    await Promise.all(this.hosts.map(({ patroni }) => endChild(patroni, 'SIGTERM', 30_000)));
    await Promise.all(this.hosts.map(({ etcd }) => endChild(etcd, 'SIGTERM', 10_000)));
  }

  #prepare(host: Host, files: { readonly certificate: string; readonly key: string }): void {
    const { name, address, directory } = host;
    const own = (file: string) => {
      if (this.#owner.uid !== undefined) chownSync(join(directory, file), this.#owner.uid, this.#owner.gid as number);
    };
    const write = (file: string, text: string | Buffer) => {
      writeFileSync(join(directory, file), text, { mode: 0o600 });
      own(file);
    };
    own('.');
    write('server.crt', readFileSync(files.certificate));
    write('server.key', readFileSync(files.key));
    write('etcd.env', this.#addressed(documentedConfig(PAGE, 'Patroni', 'ini'), host));
    const config = withReplaced(documentedConfig(PAGE, 'Patroni', 'yaml'), {
      'name: db-1': `name: ${name}`,
      ': 10.0.2.1:8008': `: ${address}:8008`,
      ': 10.0.2.1:5432': `: ${address}:5432`,
      '10.0.2.': '127.0.2.',
      '10.0.0.0/8': '127.0.0.0/8',
      '/usr/lib/postgresql/15/bin': this.#bin,
      '/var/lib/postgresql/15/rollcall': join(directory, 'data'),
      '/var/lib/postgresql/patroni.pgpass': join(directory, 'pgpass'),
      '/var/run/postgresql': directory,
      '/etc/postgresql/': `${directory}/`,
      'SUPERUSER-PASSWORD': SUPERUSER_PASSWORD,
      'REPLICATION-PASSWORD': 'replication of the script',
    });
    write('patroni.yml', config);
  }

  /** Its name and address in all lines but those about the cluster. */
  #addressed(text: string, { name, address, directory }: Host): string {
    const lines = withReplaced(text, { '/var/lib/etcd/rollcall': join(directory, 'etcd') }).split('\n');
    return lines
      .map((line) => {
        if (line.startsWith('ETCD_INITIAL_CLUSTER=')) return line.replaceAll('10.0.2.', '127.0.2.');
        return line.replace('10.0.2.1', address).replace('=db-1', `=${name}`);
      })
      .join('\n');
  }

  #startEtcd(host: Host, state: 'new' | 'existing'): void {
    const lines = readFileSync(join(host.directory, 'etcd.env'), 'utf8').split('\n').filter(Boolean);
    const settings = Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)));
    host.etcd = this.#spawn(host, 'etcd', ['etcd'], { ...settings, ETCD_INITIAL_CLUSTER_STATE: state });
  }

  #startPatroni(host: Host): void {
    host.patroni = this.#spawn(host, 'patroni', ['patroni', join(host.directory, 'patroni.yml')], {});
  }

  #spawn(
    host: Host,
    log: string,
    [program = '', ...args]: readonly string[],
    settings: Readonly<Record<string, string>>,
  ) {
    const output = openSync(join(host.directory, `${log}.log`), 'a');
    return spawnChild(`/usr/bin/${program}`, args, {
      ...this.#owner,
      cwd: host.directory,
      env: { PATH: process.env.PATH, HOME: host.directory, LC_ALL: 'C.UTF-8', ...settings },
      stdio: ['ignore', output, output],
      atParentsDeath: 'SIGTERM',
    });
  }

  #createDatabase({ address }: Host): void {
    const at = ['--host', address, '--username', 'postgres', '--no-psqlrc', '--quiet', 'postgres'];
    execFileSync(join(this.#bin, 'psql'), at, {
      input: `CREATE ROLE rollcall LOGIN PASSWORD '${PASSWORD}';\nCREATE DATABASE rollcall OWNER rollcall;\n`,
      env: { PATH: process.env.PATH, PGPASSWORD: SUPERUSER_PASSWORD, PGSSLMODE: 'require' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
  }

  /** Of each host, by the answers of Patroni to load balancers. */
  #states(): Promise<readonly ('primary' | 'synchronous' | 'standby' | 'gone')[]> {
    const is = async (address: string, path: string) => {
      try {
        return (await fetch(`http://${address}:8008/${path}`, { signal: AbortSignal.timeout(2_000) })).ok;
      } catch {
        return false;
      }
    };
    return Promise.all(
      this.hosts.map(async ({ address }) => {
        if (await is(address, 'primary')) return 'primary';
        if (await is(address, 'synchronous')) return 'synchronous';
        return (await is(address, 'replica')) ? 'standby' : 'gone';
      }),
    );
  }

  async #until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + WITHIN_MS;
    while (!(await isSo())) {
      if (performance.now() > end) throw new Error(`expected ${what} within ${WITHIN_MS / 1_000} s`);
      await delay(250);
    }
  }
}
