/**
 * Everything that can expire is listed before it does: a whole server has one of each kind, and what is found in its data
 * directory and behind its URLs is compared with the list.
 */

import { createHash, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { certificateParts, certificateSerial } from '../../enroll/x509/certificate-check.ts';
import { encodeDer, integer, octets, oid, sequence } from '../../enroll/x509/der-writer.ts';
import { EXPIRING_KINDS } from '../../registry/index.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { issueService } from '../fixtures/service.ts';

/** 100 years, the longest time that the API accepts. */
const EVER = 3_153_600_000;

type Item = Awaited<ReturnType<TestFleet['operator']['listExpiring']>>['expiring'][number];

let fleet: TestFleet;
let items: readonly Item[];
beforeAll(async () => {
  const settings = [
    [['certificateStatus', 'listen'], true],
    [['certificateStatus', 'port'], 0],
  ] as const;
  fleet = await startFleet({ settings });
  const device = await fleet.enroll('gateway-1');
  await issueService(fleet, 'dashboard');
  await fleet.mint({ uses: 5 });
  await fleet.operator.addOperator({ name: 'ada' });
  await fleet.operator.createOperatorKey({ operator: 'ada' });
  await fleet.operator.prepareCa({ role: 'root' });
  await fleet.operator.activateCa({ id: await preparedCa('issuing'), strand: 1_000 });
  await fleet.operator.prepareCa({ role: 'issuing' });
  await askForStatus(new X509Certificate(device.certificatePem));
  ({ expiring: items } = await fleet.operator.listExpiring({ withinSeconds: EVER, limit: 1_000 }));
});
afterAll(() => fleet.stop());

async function preparedCa(role: 'root' | 'issuing'): Promise<string> {
  return (await fleet.operator.prepareCa({ role })).id;
}

/** Fetches the CRLs and an OCSP response, which exist from the first request on. */
async function askForStatus(leaf: X509Certificate): Promise<void> {
  const url = fleet.certificateStatusUrl as string;
  expect((await fetch(`${url}/crl/all.pem`)).status).toBe(200);
  const issuer = issuerOf(leaf);
  const { subject, spki } = certificateParts(issuer.raw) as Exclude<ReturnType<typeof certificateParts>, string>;
  const sha1 = (bytes: Uint8Array) => octets(createHash('sha1').update(bytes).digest());
  const serial = integer(Buffer.from(leaf.serialNumber, 'hex'));
  const id = sequence(sequence(oid('1.3.14.3.2.26')), sha1(subject), sha1(spki.subarray(-65)), serial);
  const body = encodeDer(sequence(sequence(sequence(sequence(id)))));
  const response = await fetch(`${url}/ocsp`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/ocsp-request' },
  });
  expect(response.status).toBe(200);
}

function issuerOf(leaf: X509Certificate): X509Certificate {
  return certificateFiles().find((ca) => leaf.checkIssued(ca) && leaf.verify(ca.publicKey)) as X509Certificate;
}

function certificateFiles(): readonly X509Certificate[] {
  const ca = join(fleet.data, 'ca');
  const texts = readdirSync(ca)
    .filter((name) => name.endsWith('.pem'))
    .map((name) => readFileSync(join(ca, name), 'utf8'));
  return [...texts, readFileSync(fleet.trustBundle, 'utf8')].flatMap((text) =>
    (text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
      (pem) => new X509Certificate(pem),
    ),
  );
}

function inRegistry<Row>(sql: string): readonly Row[] {
  const database = new Database(join(fleet.data, 'registry.db'), { readonly: true });
  try {
    return database.prepare<[], Row>(sql).all();
  } finally {
    database.close();
  }
}

describe('the list of everything that expires', () => {
  it('has every kind', () => {
    expect([...new Set(items.map(({ kind }) => kind))].sort()).toEqual([...EXPIRING_KINDS].sort());
  });

  it('has every certificate that was recorded, every CA that is not retired, and every usable token and API key', () => {
    const listed = new Map(items.map(({ id, expiresAt }) => [id, Date.parse(expiresAt)]));
    type Expiring = { readonly id: string; readonly until: number };
    const recorded = [
      // The listeners' certificates of the first CA were replaced when the second became active.
      ...inRegistry<Expiring>(`SELECT serial AS id, not_after AS until FROM certificates AS own WHERE server_name IS NULL
        OR NOT EXISTS (SELECT 1 FROM certificates AS other WHERE other.server_name = own.server_name AND other.rowid > own.rowid)`),
      ...inRegistry<Expiring>(`SELECT id, not_after AS until FROM issuers WHERE state <> 'retired'`),
      ...inRegistry<Expiring>('SELECT id, expires_at AS until FROM tokens WHERE uses < max_uses'),
      ...inRegistry<Expiring>('SELECT id, expires_at AS until FROM operator_keys'),
    ];
    expect(recorded.length).toBeGreaterThanOrEqual(12);
    for (const { id, until } of recorded) expect(listed.get(id), id).toBe(until);
  });

  it('has every certificate of a file in the data directory, and each CRL', async () => {
    const byEnd = new Set(items.map(({ expiresAt }) => Date.parse(expiresAt)));
    for (const certificate of certificateFiles()) expect(byEnd).toContain(certificate.validToDate.getTime());
    const crls = await (await fetch(`${fleet.certificateStatusUrl}/crl/all.pem`)).text();
    expect(items.filter(({ kind }) => kind === 'crl')).toHaveLength(crls.split('BEGIN X509 CRL').length - 1);
    const files = readdirSync(join(fleet.data, 'ca')).filter((name) => name.endsWith('.crl'));
    const ofRoots = items.filter(({ kind, name }) => kind === 'crl' && name.startsWith('root'));
    expect(ofRoots).toHaveLength(files.length);
  });

  it('would miss no time in the registry: a new column with one belongs into a kind, or into this list', () => {
    const columns = inRegistry<{ name: string }>(
      `SELECT tables.name || '.' || columns.name AS name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
       WHERE tables.type = 'table' AND (columns.name LIKE '%after' OR columns.name LIKE '%expire%' OR columns.name LIKE '%until'
         OR columns.name LIKE '%\\_end' ESCAPE '\\')`,
    );
    expect(columns.map(({ name }) => name).sort()).toEqual([
      'certificates.not_after',
      'issuers.not_after',
      'operator_keys.expires_at',
      'operator_sessions.expires_at', // a person signs in again
      'operator_sessions.former_until', // inside the life of its session
      'renewal_windows.window_end', // inside the life of its certificate
      'sign_in_links.expires_at', // another one is made when it is needed
      'tokens.expires_at',
    ]);
  });

  it('names what renews each item, with the command where an operator has to act', () => {
    const byKind = (kind: Item['kind']) => items.filter((item) => item.kind === kind);
    expect(byKind('device')).toMatchObject([{ name: 'gateway-1', group: 'default', renewedBy: 'device' }]);
    expect(byKind('service')).toMatchObject([{ name: 'dashboard', renewedBy: 'service' }]);
    expect(byKind('server').map(({ name, renewedBy }) => `${name} ${renewedBy}`)).toContain('broker server');
    const actions = byKind('root').map(({ name, action }) => `${name.split(' ')[0]}: ${action}`);
    expect(actions.sort()).toEqual([
      'active: rollcall ca rotate prepare --root',
      expect.stringMatching(/^outgoing: rollcall ca rotate retire [0-9a-f]{40}$/),
    ]);
    const outgoing = byKind('issuing-ca').find(({ name }) => name.startsWith('outgoing'));
    expect(outgoing?.action).toBe(`rollcall ca rotate retire ${outgoing?.id}`);
  });

  it('comes in pages, in one order, each item once', async () => {
    const paged: Item[] = [];
    let after: string | undefined;
    do {
      const page = await fleet.operator.listExpiring({
        withinSeconds: EVER,
        limit: 2,
        ...(after !== undefined && { after }),
      });
      paged.push(...page.expiring);
      after = page.next;
    } while (after !== undefined);
    expect(paged).toEqual(items);
    const [first] = (await fleet.operator.listExpiring({ withinSeconds: EVER, kind: 'root,crl', limit: 1_000 }))
      .expiring;
    expect(['root', 'crl']).toContain(first?.kind);
    await expect(fleet.operator.listExpiring({ kind: 'roots' })).rejects.toMatchObject({ code: 'request_invalid' });
    await expect(fleet.operator.listExpiring({ after: '1_roots_ab' })).rejects.toMatchObject({
      code: 'request_invalid',
    });
  });
});

it('a certificate serial is written in the list as "rollcall device show" writes it', async () => {
  const [device] = items.filter(({ kind }) => kind === 'device');
  const [row] = inRegistry<{ der: Buffer }>('SELECT der FROM certificates WHERE device_id IS NOT NULL');
  expect(device?.id).toBe(certificateSerial(row?.der as Buffer));
});
