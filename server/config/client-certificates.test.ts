import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makePeopleAuthority } from '../../test/fixtures/operator-certificates.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { clientCertificateSettings } from './client-certificates.ts';

async function files() {
  const directory = temporaryDirectory();
  const people = await makePeopleAuthority();
  const [caFile, crlFile] = [join(directory, 'ca.pem'), join(directory, 'crl.pem')];
  writeFileSync(caFile, people.ca);
  writeFileSync(crlFile, await people.crl([]));
  return { people, caFile, crlFile };
}

describe('the files for certificates of operators', () => {
  it('are none by default', () => {
    expect(clientCertificateSettings({ caFile: '', crlFile: '', name: 'cn' })).toBeUndefined();
  });

  it('are read again when one has changed, and only then', async () => {
    const { people, caFile, crlFile } = await files();
    const settings = clientCertificateSettings({ caFile, crlFile, name: 'email' });
    const first = settings?.read();
    expect([settings?.name, first?.ca, first?.crl?.length]).toEqual(['email', people.ca, 1]);
    expect(settings?.read()).toBe(first);
    writeFileSync(crlFile, `${await people.crl(['7a'])}${await people.crl([])}`);
    expect(settings?.read().crl).toHaveLength(2);
    writeFileSync(crlFile, '');
    expect(() => settings?.read()).toThrow('expected CRLs in PEM');
  });

  it('are refused when they hold something else, or a CRL comes without a CA', async () => {
    const { caFile, crlFile } = await files();
    const refusalOf = (ca: string, crl: string) => () =>
      clientCertificateSettings({ caFile: ca, crlFile: crl, name: 'cn' });
    expect(refusalOf('', crlFile)).toThrow('expected caFile with crlFile');
    expect(refusalOf(crlFile, '')).toThrow('caFile: expected certificates in PEM');
    expect(refusalOf(caFile, caFile)).toThrow('crlFile: expected CRLs in PEM');
    expect(refusalOf(caFile, '/nowhere/crl.pem')).toThrow('could not be read: ENOENT');
  });
});
