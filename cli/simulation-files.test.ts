/** Where identities that are kept may be written. */

import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { loadIdentities, saveIdentities } from './simulation-files.ts';

const certificate = (text: string) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
const identity = { keyPem: 'a key', certificatePem: certificate('leaf'), issuersPem: certificate('issuing') };

it.each(['../../x', '..', '/x', 'a/b', ''])('an identity named %j is refused before anything is written', (name) => {
  const parent = temporaryDirectory();
  const ids = new Map([
    ['pump-1', identity],
    [name, identity],
  ]);
  expect(() => saveIdentities(join(parent, 'one/keep'), ids, 'root')).toThrow(
    expect.objectContaining({ code: 'config_invalid' }),
  );
  expect(readdirSync(parent)).toEqual([]);
});

it('identities are kept in new directories, and never through a link or over one that is there', () => {
  const [keep, elsewhere] = [temporaryDirectory(), temporaryDirectory()];
  const ids = (name: string) => new Map([[name, identity]]);
  saveIdentities(keep, ids('pump-1'), 'root');
  expect(loadIdentities(keep).identities.get('pump-1')).toEqual(identity);
  expect(readFileSync(join(keep, 'pump-1/cert.pem'), 'utf8')).toBe(certificate('leaf') + certificate('issuing'));
  const other = new Map([['pump-1', { keyPem: 'another', certificatePem: 'another' }]]);
  expect(() => saveIdentities(keep, other, 'root')).toThrow(expect.objectContaining({ code: 'config_invalid' }));
  expect(readFileSync(join(keep, 'pump-1/key.pem'), 'utf8')).toBe('a key');
  symlinkSync(elsewhere, join(keep, 'pump-2'));
  expect(() => saveIdentities(keep, ids('pump-2'), 'root')).toThrow(
    expect.objectContaining({ code: 'config_invalid' }),
  );
  expect(readdirSync(elsewhere)).toEqual([]);
  mkdirSync(join(keep, 'pump-3'));
  expect(() => saveIdentities(keep, ids('pump-3'), 'root')).toThrow(
    expect.objectContaining({ code: 'config_invalid' }),
  );
});
