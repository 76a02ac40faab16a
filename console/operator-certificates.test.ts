/** Operators with client certificates on the real listener: who is admitted, who is not, and what a browser may do with one. */

import { Agent, type AgentOptions, request } from 'node:https';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openTestConsole, type RawAnswer, type TestConsole } from '../test/fixtures/console/test-console.ts';
import {
  makePeopleAuthority,
  type PeopleAuthority,
  type PersonCertificate,
} from '../test/fixtures/operator-certificates.ts';

const HOUR = 3_600_000;
const logged: string[] = [];
let people: PeopleAuthority;
let ada: PersonCertificate;
beforeAll(async () => {
  people = await makePeopleAuthority();
  ada = await people.issue();
});

async function openConsole(trust: { ca: string; crl?: string[] }): Promise<TestConsole> {
  const log = pino({ level: 'info' }, { write: (line) => logged.push(line) });
  const opened = await openTestConsole({ log, options: { clientCertificates: { name: 'cn', read: () => trust } } });
  opened.clock.now = Date.now();
  await opened.client.addOperator({ name: 'ada', role: 'operator' });
  return opened;
}

function ask(
  fixture: TestConsole,
  certificate: PersonCertificate | undefined,
  path: string,
  options: {
    readonly method?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly agent?: Agent;
  } = {},
): Promise<RawAnswer> {
  const { method = 'GET', headers = {}, agent } = options;
  const tls: AgentOptions = { ca: fixture.tls.cert, servername: 'localhost', ...certificate };
  return new Promise((resolve, reject) => {
    const order = {
      host: '127.0.0.1',
      port: fixture.console.port,
      path,
      method,
      headers,
      ...tls,
      agent: agent ?? false,
    };
    const asked = request(order as never, async (response) => {
      let text = '';
      for await (const chunk of response) text += chunk;
      const json = text === '' ? undefined : JSON.parse(text);
      resolve({ status: response.statusCode as number, headers: response.headers, text, json });
    });
    asked.once('error', reject);
    asked.end(method === 'GET' ? undefined : '{}');
  });
}
const JSON_BODY = { 'content-type': 'application/json' };

describe('a certificate of an operator', () => {
  let fixture: TestConsole;
  beforeAll(async () => {
    fixture = await openConsole({ ca: people.ca });
  });
  afterAll(() => fixture.close());
  beforeEach(() => {
    fixture.clock.now = Date.now();
    logged.length = 0;
  });
  const whoami = (certificate: PersonCertificate | undefined) => ask(fixture, certificate, '/v1/whoami');

  it('admits its operator with its role, and the audit has its serial', async () => {
    expect((await whoami(ada)).json).toMatchObject({ actor: 'operator/ada', role: 'operator' });
    expect((await ask(fixture, ada, '/v1/tokens', { method: 'POST', headers: JSON_BODY })).status).toBe(200);
    const [entry] = await fixture.client.listAudit({ limit: 1 });
    expect(entry).toMatchObject({
      actor: 'operator/ada',
      action: 'token.minted',
      details: { certificate: ada.serial, fromAddress: '127.0.0.1' },
    });
    expect((await ask(fixture, ada, '/v1/operators')).json).toMatchObject({ code: 'role_insufficient' });
  });

  it('is not asked of clients with a key, and needed by clients without one', async () => {
    expect((await whoami(undefined)).status).toBe(401);
    const headers = { authorization: `Bearer ${fixture.operatorKey}` };
    expect((await ask(fixture, undefined, '/v1/whoami', { headers })).json).toMatchObject({ actor: 'operator/key' });
    expect((await ask(fixture, ada, '/v1/whoami', { headers })).json).toMatchObject({ actor: 'operator/key' });
    const wrong = { authorization: `Bearer ${fixture.operatorKey.slice(1)}` };
    expect((await ask(fixture, ada, '/v1/whoami', { headers: wrong })).status).toBe(401);
  });

  it.each([
    ['that has ended', () => people.issue({ notAfter: Date.now() - 1_000 }), 'CERT_HAS_EXPIRED'],
    ['that is not valid yet', () => people.issue({ notBefore: Date.now() + HOUR }), 'CERT_NOT_YET_VALID'],
    ['of another CA', async () => (await makePeopleAuthority('CN=people')).issue(), 'CERT'],
    ['for servers', () => people.issue({ purpose: 'server' }), 'INVALID_PURPOSE'],
    ['of somebody who is no operator', () => people.issue({ cn: ['eve'] }), 'there is no active operator eve'],
    ['with two names', () => people.issue({ cn: ['ada', 'eve'] }), 'expected exactly one name of the kind cn'],
    [
      'with a name in another field',
      () => people.issue({ cn: ['x'], san: [{ type: 'email', value: 'ada' }] }),
      'operator x',
    ],
  ] as const)('%s is refused with the reason in the log', async (_, issue, reason) => {
    const certificate = await issue();
    expect(await whoami(certificate)).toMatchObject({ status: 401, json: { code: 'operator_required' } });
    const line = logged.find((each) => each.includes('operator certificate refused')) ?? '';
    expect(line).toContain(reason);
    expect(line).toContain(`"serial":"${certificate.serial}"`);
  });

  it('whose end has come by the clock of the server is refused', async () => {
    fixture.clock.now += 25 * HOUR;
    expect((await whoami(ada)).status).toBe(401);
    expect(logged.join('')).toContain('not within its dates');
  });

  it('of a device of this fleet is refused, whatever its name and its CA', async () => {
    const device = await people.issue({ cn: ['ada'] });
    await fixture.registry.commitService(
      'ada-service' as never,
      {
        serial: device.serial,
        der: Buffer.from('x'),
        publicKeySha256: 'a'.repeat(64),
        notBefore: fixture.clock.now - HOUR,
        notAfter: fixture.clock.now + HOUR,
      },
      { actor: 'operator/test' },
    );
    expect((await whoami(device)).status).toBe(401);
    expect(logged.join('')).toContain('a certificate of a device or service');
  });

  it('of a disabled operator is refused at once, on an open connection too', async () => {
    const grace = await people.issue({ cn: ['grace'] });
    await fixture.client.addOperator({ name: 'grace', role: 'viewer' });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const again = () => ask(fixture, grace, '/v1/whoami', { agent });
    expect((await again()).status).toBe(200);
    await fixture.client.disableOperator({ name: 'grace' });
    expect((await again()).status).toBe(401);
    agent.destroy();
  });
});

describe('a browser with a certificate', () => {
  let fixture: TestConsole;
  beforeAll(async () => {
    fixture = await openConsole({ ca: people.ca });
  });
  afterAll(() => fixture.close());
  const own = { host: 'localhost', origin: 'https://localhost', 'sec-fetch-site': 'same-origin', ...JSON_BODY };

  it('changes nothing by it alone, whichever page caused the request', async () => {
    const before = await fixture.client.listTokens();
    const evil = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' };
    for (const headers of [evil, { origin: 'null' }, { 'sec-fetch-site': 'cross-site' }, own]) {
      const answer = await ask(fixture, ada, '/v1/tokens', { method: 'POST', headers: { ...JSON_BODY, ...headers } });
      expect([headers, answer.status]).toEqual([headers, 401]);
    }
    expect(await fixture.client.listTokens()).toEqual(before);
  });

  it('begins a session with it from a page of the console, which the audit records with its serial', async () => {
    const path = '/v1/sign-in/certificate';
    const shown = await ask(fixture, ada, '/v1/sign-in', {
      headers: { host: 'localhost', 'sec-fetch-site': 'same-origin' },
    });
    expect(shown.json.methods).toContain('certificate');
    const foreign = await ask(fixture, ada, path, {
      method: 'POST',
      headers: { ...JSON_BODY, origin: 'https://evil.example' },
    });
    expect([foreign.status, foreign.json.code]).toEqual([403, 'cross_site_refused']);
    const begun = await ask(fixture, ada, path, { method: 'POST', headers: own });
    expect(begun).toMatchObject({ status: 200, json: { operator: 'ada', session: { method: 'certificate' } } });
    const expiry = Date.parse(begun.json.session.expiresAt) - fixture.clock.now;
    expect(expiry).toBeLessThanOrEqual(8 * HOUR);
    const [entry] = await fixture.client.listAudit({ limit: 1 });
    expect(entry).toMatchObject({
      action: 'operator.signed_in',
      details: { signedInBy: 'certificate', certificate: ada.serial },
    });
    const cookie = begun.headers['set-cookie']?.[0]?.split(';')[0] as string;
    const act = (headers: object) =>
      ask(fixture, ada, '/v1/tokens', { method: 'POST', headers: { ...own, cookie, ...headers } });
    expect((await act({})).json.code).toBe('cross_site_refused');
    expect((await act({ 'x-csrf-token': begun.json.csrfToken })).status).toBe(200);
    const without = await ask(fixture, undefined, path, { method: 'POST', headers: own });
    expect([without.status, without.json.code]).toEqual([401, 'sign_in_refused']);
  });
});

describe('the CRL of a CA', () => {
  it('ends a certificate that it names, on connections from before too, and an old one ends all', async () => {
    const trust: { current: { ca: string; crl: string[] } } = {
      current: { ca: people.ca, crl: [await people.crl([])] },
    };
    const options = { clientCertificates: { name: 'cn', read: () => trust.current } } as const;
    const fixture = await openTestConsole({ options });
    fixture.clock.now = Date.now();
    await fixture.client.addOperator({ name: 'ada', role: 'viewer' });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const statuses = async () => [
      (await ask(fixture, ada, '/v1/whoami', { agent })).status,
      (await ask(fixture, ada, '/v1/whoami')).status,
    ];
    try {
      expect(await statuses()).toEqual([200, 200]);
      trust.current = { ca: people.ca, crl: [await people.crl([ada.serial])] };
      fixture.console.checkClientCertificates();
      expect(await statuses()).toEqual([401, 401]);
      trust.current = { ca: people.ca, crl: [await people.crl([])] };
      fixture.console.checkClientCertificates();
      expect((await ask(fixture, ada, '/v1/whoami')).status).toBe(200);
      trust.current = { ca: people.ca, crl: [await people.crl([], Date.now() - 1_000)] };
      fixture.console.checkClientCertificates();
      expect((await ask(fixture, ada, '/v1/whoami')).status).toBe(401);
    } finally {
      agent.destroy();
      await fixture.close();
    }
  });
});
