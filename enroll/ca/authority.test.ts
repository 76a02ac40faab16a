import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Identity, Problem } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { installed } from '../../test/fixtures/client-programs.ts';
import { runVerifier } from '../../test/fixtures/enroll/external-verifiers.ts';
import { freshKey } from '../../test/fixtures/enroll/test-csr.ts';
import { openTestAuthority, testDirectory } from '../../test/fixtures/enroll/test-enrollment.ts';
import { DAY, TEST_LIFETIMES } from '../../test/fixtures/enroll/test-lifetimes.ts';
import { pem } from '../x509/pem.ts';
import { type Authority, openAuthority } from './authority.ts';

const DEVICE = { kind: 'device', id: 'dev-7' } as Identity;
const SERVICE = { kind: 'service', name: 'dashboard' } as Identity;

function spkiOf(key = freshKey().publicKey): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}

async function issued(authority: Authority, identity: Identity = DEVICE): Promise<X509Certificate> {
  return new X509Certificate(Buffer.from((await authority.issuer.issue(identity, spkiOf())).der));
}

async function problemOf(promise: Promise<unknown>): Promise<Problem> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Problem)) throw new Error(`expected a Problem, found ${String(error)}`);
  return error;
}

describe('a device certificate', () => {
  it('holds our profile and nothing else', async () => {
    const { authority } = await openTestAuthority();
    const key = freshKey().publicKey;
    const record = await authority.issuer.issue(DEVICE, spkiOf(key));
    const certificate = new X509Certificate(Buffer.from(record.der));
    expect(certificate.subject).toBe('CN=dev-7');
    expect(certificate.subjectAltName).toBe('URI:spiffe://fleet.example/device/dev-7');
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    expect(certificate.ca).toBe(false);
    expect(certificate.publicKey.equals(key)).toBe(true);
    expect(certificate.serialNumber.toLowerCase()).toBe(record.serial);
    expect(authority.issuer.hasIssued(certificate)).toBe(true);
  });

  it('has a serial of 128 random bits that is positive and has one spelling', async () => {
    const { authority } = await openTestAuthority();
    const serials = await Promise.all(
      Array.from({ length: 50 }, async () => (await authority.issuer.issue(DEVICE, spkiOf())).serial),
    );
    expect(new Set(serials).size).toBe(50);
    for (const serial of serials) expect(serial).toMatch(/^40[0-9a-f]{32}$/);
  });

  it('is valid from ten minutes ago to between 81 and 90 days from now, at random', async () => {
    const now = Date.now();
    const chances = [0, 0x7fffffff, 0xffffffff];
    const randomBytes = (size: number) => {
      const bytes = Buffer.alloc(size, 7);
      if (size === 4) bytes.writeUInt32BE(chances.shift() ?? 0);
      return bytes;
    };
    const { authority } = await openTestAuthority({ now: () => now, randomBytes });
    const second = Math.floor(now / 1000) * 1000;
    const lives = [];
    for (let n = 0; n < 3; n += 1) {
      const { notBefore, notAfter } = await authority.issuer.issue(DEVICE, spkiOf());
      expect(second - notBefore).toBe(600_000);
      lives.push((notAfter - second) / 1000 / DAY);
    }
    expect(lives[0]).toBe(90);
    expect(lives[1]).toBeCloseTo(85.5, 3);
    expect(lives[2]).toBeCloseTo(81, 3);
  });

  it('never outlives the issuing CA', async () => {
    const { authority } = await openTestAuthority({ lifetimes: { ...TEST_LIFETIMES, issuingSeconds: 20 * DAY } });
    const end = new X509Certificate(authority.trust.chainPem).validToDate;
    expect((await issued(authority)).validToDate).toEqual(end);
    expect(new X509Certificate(authority.serverCertificates.current('broker').cert).validToDate).toEqual(end);
  });

  it('is not issued once the issuing CA has expired', async () => {
    const clock = { now: Date.now() };
    const { authority } = await openTestAuthority({
      now: () => clock.now,
      lifetimes: { ...TEST_LIFETIMES, issuingSeconds: DAY },
    });
    clock.now += 2 * DAY * 1000;
    expect((await problemOf(authority.issuer.issue(DEVICE, spkiOf()))).code).toBe('unavailable');
  });

  it('is not returned when it differs from the order, as with an unchecked name', async () => {
    const { authority } = await openTestAuthority();
    for (const id of ['dev,CN=other', 'dev\0', 'dev+x', 'a, URI:spiffe://fleet.example/device/b', 'x'.repeat(65)]) {
      const issue = authority.issuer.issue({ kind: 'device', id } as Identity, spkiOf());
      expect((await problemOf(issue)).code).toBe('internal');
    }
  });

  it('is checked before it is returned: one that differs from the order is not', async () => {
    // A certificate holds whole seconds, so this begin cannot be written as it was ordered.
    const lifetimes = { ...TEST_LIFETIMES, backdateSeconds: 600.0005 };
    const problem = await problemOf(openTestAuthority({ lifetimes }));
    expect(problem).toMatchObject({ code: 'internal' });
    expect(problem.reason).toContain('the issued certificate is wrong: expected not before');
  });

  it('cannot sign another one', async () => {
    const { authority, options } = await openTestAuthority();
    const { privateKey, publicKey } = freshKey();
    const record = await authority.issuer.issue(DEVICE, spkiOf(publicKey));
    const directory = join(testDirectory(), 'false-ca');
    mkdirSync(directory, { mode: 0o700 });
    copyFileSync(join(options.directory, 'root.pem'), join(directory, 'root.pem'));
    writeFileSync(join(directory, 'issuing.pem'), pem(record.der));
    writeFileSync(join(directory, 'issuing.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    const problem = await problemOf(openAuthority({ ...options, directory }));
    expect(problem).toMatchObject({ code: 'authority_unusable' });
    expect(problem.reason).toContain('expected a CA certificate');
  });
});

describe('a service certificate', () => {
  it('names the service', async () => {
    const { authority } = await openTestAuthority();
    const certificate = await issued(authority, SERVICE);
    expect(certificate.subjectAltName).toBe('URI:spiffe://fleet.example/service/dashboard');
    expect(certificate.subject).toBe('CN=dashboard');
  });
});

describe.skipIf(!installed('openssl'))('openssl (skipped where it is not installed)', () => {
  it('accepts devices as clients and servers as servers, never the other way round', async () => {
    const { authority, options } = await openTestAuthority({
      statusUrls: (id) => ({ crl: `https://localhost/crl/${id}.crl` }),
    });
    const directory = testDirectory();
    const file = (name: string, text: string) => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    const chain = [
      '-CAfile',
      join(options.directory, 'root.pem'),
      '-untrusted',
      join(options.directory, 'issuing.pem'),
    ];
    const device = file('device.pem', (await issued(authority)).toString());
    const server = file(
      'server.pem',
      new X509Certificate(authority.serverCertificates.current('broker').cert).toString(),
    );
    const verify = (...args: string[]) => runVerifier('openssl', ['verify', '-x509_strict', ...chain, ...args]).status;
    expect(verify('-purpose', 'sslclient', device)).toBe(0);
    expect(verify('-purpose', 'sslserver', device)).not.toBe(0);
    expect(verify('-purpose', 'sslserver', '-verify_hostname', 'localhost', server)).toBe(0);
    expect(verify('-purpose', 'sslserver', '-verify_ip', '::1', server)).toBe(0);
    expect(verify('-purpose', 'sslserver', '-verify_hostname', 'elsewhere.example', server)).not.toBe(0);
    expect(verify('-purpose', 'sslclient', server)).not.toBe(0);
  });

  it('shows the extensions that the profile promises', async () => {
    const { authority } = await openTestAuthority({ statusUrls: (id) => ({ crl: `https://localhost/crl/${id}.crl` }) });
    const { text } = runVerifier('openssl', ['x509', '-noout', '-text'], (await issued(authority)).toString());
    for (const line of [
      /Basic Constraints: critical\s+CA:FALSE/,
      /Key Usage: critical\s+Digital Signature\s/,
      /Extended Key Usage:\s+TLS Web Client Authentication\s/,
      /Authority Key Identifier/,
      /Subject Key Identifier/,
      /URI:https:\/\/localhost\/crl\/[0-9a-f]{40}\.crl/,
    ]) {
      expect(text).toMatch(line);
    }
    const issuing = runVerifier('openssl', ['x509', '-noout', '-text'], authority.trust.chainPem).text;
    expect(issuing).toMatch(/Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
    expect(issuing).toMatch(/Key Usage: critical\s+Certificate Sign, CRL Sign\s/);
  });
});

describe.skipIf(!installed('certtool'))('GnuTLS certtool (skipped where it is not installed)', () => {
  it('trusts the chains of devices and servers', async () => {
    const { authority, options } = await openTestAuthority();
    for (const leaf of [
      (await issued(authority)).toString(),
      authority.serverCertificates.current('enroll').cert.split(/(?<=-----END CERTIFICATE-----\n)/)[0] as string,
    ]) {
      const { status, text } = runVerifier(
        'certtool',
        ['--verify', '--load-ca-certificate', join(options.directory, 'root.pem')],
        leaf + authority.trust.chainPem,
      );
      expect(text).toContain('The certificate is trusted');
      expect(status).toBe(0);
    }
  });
});

describe('the authority at its first start', () => {
  it('creates private keys that only their owner can read', async () => {
    const { options } = await openTestAuthority();
    const mode = (name: string) => statSync(join(options.directory, name)).mode & 0o777;
    expect(mode('.')).toBe(0o700);
    expect(mode('root.key')).toBe(0o600);
    expect(mode('issuing.key')).toBe(0o600);
    expect(readdirSync(options.directory).sort()).toEqual([
      'issuing.key',
      'issuing.pem',
      'root.crl',
      'root.key',
      'root.pem',
    ]);
  });

  it('is the same authority at the next', async () => {
    const { authority, options } = await openTestAuthority();
    const again = await openTestAuthority({ directory: options.directory });
    expect(again.authority.trust.rootSha256).toBe(authority.trust.rootSha256);
    expect(again.authority.trust.chainPem).toBe(authority.trust.chainPem);
    expect(again.authority.issuer.hasIssued(await issued(authority))).toBe(true);
  });

  it.each([
    ['a trust domain with capitals', { trustDomain: 'Fleet.Example' }],
    ['no host', { hosts: [] }],
    ['a host with a wildcard', { hosts: ['*.example'] }],
    ['a host with a port', { hosts: ['localhost:8443'] }],
  ])('refuses %s before anything is made', async (_what, changes) => {
    const directory = join(testDirectory(), 'ca');
    expect((await problemOf(openTestAuthority({ directory, ...changes }))).code).toBe('config_invalid');
    expect(existsSync(directory)).toBe(false);
  });

  it('reports that the directory cannot be created', async () => {
    const file = join(testDirectory(), 'file');
    writeFileSync(file, '');
    expect((await problemOf(openTestAuthority({ directory: join(file, 'ca') }))).code).toBe('data_directory_unusable');
  });
});

describe('two servers that start at once in one directory', () => {
  it('never write over each other: what is there at the end is one authority', async () => {
    const directory = join(testDirectory(), 'ca');
    const started = await Promise.allSettled([openTestAuthority({ directory }), openTestAuthority({ directory })]);
    const failures = started.filter((result) => result.status === 'rejected');
    for (const { reason } of failures) expect(['data_directory_busy', 'authority_unusable']).toContain(reason.code);
    const { authority } = await openTestAuthority({ directory });
    for (const result of started) {
      if (result.status === 'fulfilled')
        expect(result.value.authority.trust.rootSha256).toBe(authority.trust.rootSha256);
    }
  });
});

describe('an authority that exists', () => {
  it('is refused while others can read a private key, with a hint how to fix it', async () => {
    const { options } = await openTestAuthority();
    for (const [name, loose, tight] of [
      ['issuing.key', 0o640, 0o600],
      ['root.key', 0o604, 0o600],
      ['.', 0o750, 0o700],
    ] as const) {
      chmodSync(join(options.directory, name), loose);
      const problem = await problemOf(openAuthority(options));
      expect(problem.code).toBe('private_key_exposed');
      expect(problem.hint).toContain(`chmod ${tight.toString(8)}`);
      chmodSync(join(options.directory, name), tight);
    }
    await (await openAuthority(options)).close();
  });

  it('works without the root key', async () => {
    const { options } = await openTestAuthority();
    renameSync(join(options.directory, 'root.key'), join(options.directory, '..', 'root.key'));
    const again = await openTestAuthority({ directory: options.directory });
    expect(again.authority.issuer.hasIssued(await issued(again.authority))).toBe(true);
  });

  it('gets a new issuing CA when the old one was removed and the root key is present', async () => {
    const { authority, options } = await openTestAuthority();
    rmSync(join(options.directory, 'issuing.key'));
    rmSync(join(options.directory, 'issuing.pem'));
    const again = await openTestAuthority({ directory: options.directory });
    expect(again.authority.trust.rootSha256).toBe(authority.trust.rootSha256);
    expect(again.authority.trust.chainPem).not.toBe(authority.trust.chainPem);
  });

  it.each([
    ['the root certificate is missing', ['root.pem'], 'expected root.pem'],
    ['the issuing key is missing', ['issuing.key'], 'expected issuing.key'],
    ['the issuing CA and the root key are missing', ['issuing.key', 'issuing.pem', 'root.key'], 'expected root.key'],
  ])('is refused, and nothing made anew, when %s', async (_what, names, reason) => {
    const { options } = await openTestAuthority();
    for (const name of names) rmSync(join(options.directory, name));
    const before = readdirSync(options.directory);
    const problem = await problemOf(openAuthority(options));
    expect(problem.code).toBe('authority_unusable');
    expect(problem.reason).toContain(reason);
    expect(readdirSync(options.directory)).toEqual(before);
  });

  it.each([
    ['root.pem', 'root.pem'],
    ['issuing.pem', 'issuing.pem'],
    ['root.key', 'root.pem'],
    ['issuing.key', 'issuing.pem'],
  ])('is refused when %s is that of another authority', async (swapped, named) => {
    const { options } = await openTestAuthority();
    const other = await openTestAuthority();
    copyFileSync(join(other.options.directory, swapped), join(options.directory, swapped));
    chmodSync(join(options.directory, swapped), 0o600);
    const problem = await problemOf(openAuthority(options));
    expect(problem.code).toBe('authority_unusable');
    expect(problem.reason).toContain(named);
    expect(problem.hint).toBeDefined();
  });

  it('is refused when root and issuing CA are both sound but of two authorities', async () => {
    const { options } = await openTestAuthority();
    const other = await openTestAuthority();
    for (const name of ['issuing.pem', 'issuing.key']) {
      cpSync(join(other.options.directory, name), join(options.directory, name));
    }
    expect((await problemOf(openAuthority(options))).reason).toContain('signed by the root CA beside it');
  });

  it('is not replaced while the registry knows it, because devices trust the old one', async () => {
    const { options } = await openTestAuthority();
    rmSync(options.directory, { recursive: true });
    expect((await problemOf(openAuthority(options))).reason).toContain('expected root.pem');
    expect(readdirSync(options.directory)).toEqual([]);
  });

  it('is refused under another trust domain', async () => {
    const { options } = await openTestAuthority();
    const problem = await problemOf(openAuthority({ ...options, trustDomain: 'other.example' }));
    expect(problem.code).toBe('authority_unusable');
    expect(problem.reason).toContain('spiffe://other.example');
  });

  it('is refused after a CA expired, and before it is valid', async () => {
    const { options } = await openTestAuthority();
    const at = (days: number) => problemOf(openAuthority({ ...options, now: () => Date.now() + days * DAY * 1000 }));
    expect((await at(4 * 365)).reason).toContain('issuing.pem: ended');
    expect((await at(21 * 365)).reason).toContain('root.pem: ended');
    expect((await at(-1)).hint).toContain('clock');
  });

  it('is refused when a file is damaged, without quoting it', async () => {
    const { options } = await openTestAuthority();
    for (const name of ['issuing.pem', 'issuing.key']) {
      const file = join(options.directory, name);
      const before = readFileSync(file);
      writeFileSync(file, before.subarray(0, 60));
      const problem = await problemOf(openAuthority(options));
      expect(problem.code).toBe('authority_unusable');
      expect(problem.message).not.toContain(before.subarray(30, 60).toString());
      writeFileSync(file, before);
    }
  });
});

describe('the creation of an authority', () => {
  it('that is killed at any step is completed by the next start', async () => {
    const script = join(testDirectory(), 'make.mjs');
    writeFileSync(script, KILLED_MAKER);
    let finished = false;
    for (let step = 1; !finished; step += 1) {
      expect(step).toBeLessThan(60);
      const directory = join(testDirectory(), 'ca');
      const child = spawnSync(process.execPath, [script, authorityModule, directory, String(step)]);
      finished = child.status === 0;
      if (!finished) expect(child.signal, String(child.stderr)).toBe('SIGKILL');
      const { authority } = await openTestAuthority({ directory });
      expect(authority.issuer.hasIssued(await issued(authority))).toBe(true);
      expect(readdirSync(directory).sort()).toEqual(['issuing.key', 'issuing.pem', 'root.crl', 'root.key', 'root.pem']);
    }
  });
});

const authorityModule = fileURLToPath(new URL('./authority.ts', import.meta.url));

/** Opens an authority in a process that kills itself before the n-th call that changes the file system. */
const KILLED_MAKER = `
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
const [module, directory, step] = process.argv.slice(2);
let left = Number(step);
const tick = () => { left -= 1; if (left === 0) process.kill(process.pid, 'SIGKILL'); };
for (const name of ['mkdir', 'open', 'link', 'unlink']) {
  const real = fs[name];
  fs[name] = async (...args) => {
    tick();
    const result = await real(...args);
    if (name === 'open') {
      const write = result.writeFile.bind(result);
      result.writeFile = async (...inner) => { tick(); return write(...inner); };
    }
    return result;
  };
}
syncBuiltinESMExports();
const { openAuthority } = await import(module);
const { inMemoryIssuers } = await import(new URL('../../test/fixtures/enroll/in-memory-issuers.ts', 'file://' + module));
const silent = { info() {}, warn() {}, error() {}, debug() {} };
const registry = { recordServerCertificate: async () => {}, recordAction: async () => 1, nextCrlNumber: async () => 1, ...inMemoryIssuers() };
const lifetimes = { deviceSeconds: 86400, serverSeconds: 86400, issuingSeconds: 30 * 86400, rootSeconds: 300 * 86400, backdateSeconds: 600 };
const authority = await openAuthority({ directory, trustDomain: 'fleet.example', hosts: ['localhost'], lifetimes, registry, now: Date.now, log: silent });
await authority.close();
`;
