import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { inMemoryIssuers } from '../../test/fixtures/enroll/in-memory-issuers.ts';
import { openTestAuthority } from '../../test/fixtures/enroll/test-enrollment.ts';
import { DAY } from '../../test/fixtures/enroll/test-lifetimes.ts';
import { SERVER_NAMES, type ServerCredentials } from './server-certificates.ts';

const serialOf = ({ cert }: ServerCredentials) => new X509Certificate(cert).serialNumber.toLowerCase();

describe('server certificates', () => {
  it('are recorded before they can be used, one for each server', async () => {
    const { authority, recorded } = await openTestAuthority();
    expect(recorded).toEqual(
      SERVER_NAMES.map((name) => ({ name, serial: serialOf(authority.serverCertificates.current(name)) })),
    );
  });

  it('are not used when they cannot be recorded', async () => {
    const { options } = await openTestAuthority();
    const registry = {
      ...options.registry,
      ...inMemoryIssuers(),
      recordServerCertificate: async () => {
        throw new Error('disk full');
      },
    };
    await expect(openTestAuthority({ registry })).rejects.toThrow('disk full');
  });

  it('name every host, and are for servers only', async () => {
    const hosts = ['localhost', 'hub.example', '127.0.0.1', '::1', '2001:db8::7:0:0:1', '::ffff:192.0.2.1'];
    const { authority } = await openTestAuthority({ hosts });
    const certificate = new X509Certificate(authority.serverCertificates.current('broker').cert);
    for (const host of hosts.slice(0, 2)) expect(certificate.checkHost(host)).toBe(host);
    for (const address of hosts.slice(2)) expect(certificate.checkIP(address)).toBe(address);
    expect(certificate.checkIP('127.0.0.2')).toBeUndefined();
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
  });

  it('may name a host longer than a common name', async () => {
    const host = `${'a'.repeat(60)}.${'b'.repeat(60)}.example`;
    const { authority } = await openTestAuthority({ hosts: [host] });
    const certificate = new X509Certificate(authority.serverCertificates.current('broker').cert);
    expect(certificate.checkHost(host)).toBe(host);
    expect(certificate.subject).toBe('CN=rollcall');
  });

  it('are renewed at two thirds of their life, recorded again, and announced', async () => {
    const clock = { now: Date.now() };
    const { authority, recorded } = await openTestAuthority({ now: () => clock.now });
    const announced: string[] = [];
    const stop = authority.serverCertificates.onChange('broker', (credentials) =>
      announced.push(serialOf(credentials)),
    );
    const first = serialOf(authority.serverCertificates.current('broker'));

    clock.now += 19 * DAY * 1000;
    await authority.serverCertificates.renewDue();
    expect(serialOf(authority.serverCertificates.current('broker'))).toBe(first);

    clock.now += DAY * 1000;
    await authority.serverCertificates.renewDue();
    const second = serialOf(authority.serverCertificates.current('broker'));
    expect(second).not.toBe(first);
    expect(announced).toEqual([second]);
    expect(recorded.filter(({ name }) => name === 'broker').map(({ serial }) => serial)).toEqual([first, second]);

    stop();
    clock.now += 21 * DAY * 1000;
    await authority.serverCertificates.renewDue();
    expect(announced.length).toBe(1);
  });

  it('are renewed once when two ask at once', async () => {
    const clock = { now: Date.now() };
    const { authority, recorded } = await openTestAuthority({ now: () => clock.now });
    clock.now += 21 * DAY * 1000;
    await Promise.all([authority.serverCertificates.renewDue(), authority.serverCertificates.renewDue()]);
    expect(recorded).toHaveLength(2 * SERVER_NAMES.length);
  });

  it('reach the other listeners although one of them throws', async () => {
    const clock = { now: Date.now() };
    const { authority } = await openTestAuthority({ now: () => clock.now });
    const announced: string[] = [];
    authority.serverCertificates.onChange('console', () => {
      throw new Error('no');
    });
    authority.serverCertificates.onChange('console', (credentials) => announced.push(serialOf(credentials)));
    clock.now += 21 * DAY * 1000;
    await authority.serverCertificates.renewDue();
    expect(announced).toEqual([serialOf(authority.serverCertificates.current('console'))]);
  });
});
