import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { examinePostgres, PostgresDatabase } from '../../storage/postgres/index.ts';
import { makeDatedAuthority } from '../../test/fixtures/dated-authority.ts';
import { suitePostgres } from '../../test/fixtures/postgres-cluster.ts';
import { PASSWORD } from '../../test/fixtures/postgres-template.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { type StoreConfig, storeSettings } from './store-settings.ts';

/** A long validity, so that no test depends on the date. */
const [LONG_AGO, FAR_OFF] = [Date.UTC(2020, 0), Date.UTC(2090, 0)] as const;
const ENDED = Date.UTC(2021, 0);
const HERE = [{ type: 'ip', value: '127.0.0.1' }] as const;

const ours = await makeDatedAuthority('CN=ours');
const another = await makeDatedAuthority('CN=another');
const server = await ours.server(LONG_AGO, FAR_OFF, [...HERE]);
const client = await ours.device(LONG_AGO, FAR_OFF);

function fileOf(text: string): string {
  const path = join(temporaryDirectory(), 'file');
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

describe('the settings of a store', () => {
  it('use TLS for a host that is not this machine, and for this machine where a file is named', () => {
    const tlsOf = (config: StoreConfig) => storeSettings(config, Date.now).tls;
    expect(tlsOf({ url: 'postgres://localhost/rollcall' })).toBeUndefined();
    expect(tlsOf({ url: 'postgres://%2Frun%2Fpostgresql/rollcall' })).toBeUndefined();
    expect(tlsOf({ url: 'postgres://localhost,db.example/rollcall' })?.()).toEqual({});
    const caFile = fileOf(ours.rootPem);
    expect(tlsOf({ url: 'postgres://localhost/rollcall', caFile })?.()).toEqual({ ca: ours.rootPem });
  });

  it('are refused with a file that cannot be used', () => {
    const url = 'postgres://localhost/rollcall';
    const refusal = (config: Partial<StoreConfig>) => expect(() => storeSettings({ url, ...config }, Date.now));
    refusal({ caFile: fileOf('no certificate') }).toThrow('store: caFile: expected certificates in PEM');
    refusal({ certificateFile: fileOf(client.certificatePem) }).toThrow('store: expected certificateFile and keyFile');
    refusal({ passwordFile: fileOf('') }).toThrow('store: passwordFile: expected text in');
    const exposed = fileOf('x');
    writeFileSync(exposed, 'x', { mode: 0o644 });
    refusal({ passwordFile: '/absent' }).toThrow('expected a file at /absent, found none');
  });
});

describeWithClients('a store that is reached over TLS', ['postgres'], () => {
  const postgres = suitePostgres({ tls: { server, clientCa: ours.rootPem } });

  /** Written when a test asks for it, for files belong to a test. */
  function good(): StoreConfig & { readonly caFile: string; readonly passwordFile: string } {
    return {
      url: `postgres://rollcall@127.0.0.1:${postgres().primary.port}/rollcall`,
      caFile: fileOf(ours.rootPem),
      certificateFile: fileOf(client.certificatePem),
      keyFile: fileOf(client.keyPem),
      passwordFile: fileOf(`${PASSWORD}\n`),
    };
  }

  function open(config: StoreConfig): PostgresDatabase {
    const database = new PostgresDatabase({ ...storeSettings(config, Date.now), timeouts: { retry: 0 } });
    onTestFinished(() => database.close());
    return database;
  }

  it('is verified, shown our certificate and given the password of the file', async () => {
    const { rows } = await open(good()).query('SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()');
    expect(rows).toMatchObject([{ ssl: true, client_dn: expect.stringContaining('CN=') }]);
  });

  it('is found to be reached over TLS, also by a role that acts as another one', async () => {
    const { primary } = postgres();
    await primary.ask('CREATE ROLE fleet');
    await primary.ask(`CREATE ROLE member LOGIN PASSWORD '${PASSWORD}' IN ROLE fleet`);
    await primary.ask("ALTER ROLE member SET role = 'fleet'");
    const config = good();
    const database = open({ ...config, url: config.url.replace('//rollcall@', '//member@') });
    expect((await database.query('SELECT current_user AS role')).rows).toEqual([{ role: 'fleet' }]);
    expect(await examinePostgres(database, Date.now)).toMatchObject({ tls: expect.stringMatching(/^TLSv1/) });
  });

  it('is refused when another authority signed its certificate, and when that is for another name', async () => {
    const { url } = good();
    const untrusted = { code: 'database_untrusted' };
    await expect(open({ ...good(), caFile: fileOf(another.rootPem) }).query('SELECT 1')).rejects.toMatchObject(
      untrusted,
    );
    const elsewhere = url.replace('127.0.0.1', 'localhost');
    await expect(open({ ...good(), url: elsewhere }).query('SELECT 1')).rejects.toMatchObject(untrusted);
  });

  it('says what is missing when it wants a certificate, a valid one, or another password', async () => {
    const { url, caFile, passwordFile, ...own } = good();
    const refused = { code: 'database_access_refused' };
    await expect(open({ url, caFile, passwordFile }).query('SELECT 1')).rejects.toMatchObject({
      ...refused,
      reason: expect.stringContaining('valid client certificate'),
    });
    const wrong = fileOf('a wrong one');
    await expect(open({ url, caFile, ...own, passwordFile: wrong }).query('SELECT 1')).rejects.toMatchObject(refused);
    const stranger = await another.device(LONG_AGO, FAR_OFF);
    const files = { certificateFile: fileOf(stranger.certificatePem), keyFile: fileOf(stranger.keyPem) };
    await expect(open({ url, caFile, passwordFile, ...files }).query('SELECT 1')).rejects.toMatchObject({
      code: 'database_untrusted',
    });
    const ended = await ours.device(LONG_AGO, ENDED);
    const endedFiles = { certificateFile: fileOf(ended.certificatePem), keyFile: fileOf(ended.keyPem) };
    await expect(open({ url, caFile, passwordFile, ...endedFiles }).query('SELECT 1')).rejects.toMatchObject({
      code: 'unavailable',
      reason: expect.stringContaining('found one that ended 2021-01-01'),
    });
  });

  it('is given a password that was replaced, at the next connection', async () => {
    const config = good();
    writeFileSync(`${config.passwordFile}.new`, 'a wrong one', { mode: 0o600 });
    const database = open(config);
    renameSync(`${config.passwordFile}.new`, config.passwordFile);
    await expect(database.query('SELECT 1')).rejects.toMatchObject({ code: 'database_access_refused' });
    writeFileSync(config.passwordFile, PASSWORD, { mode: 0o600 });
    await database.query('SELECT 1');
  });
});
