import { X509Certificate } from 'node:crypto';
import { beforeAll, expect, it } from 'vitest';
import { makePeopleAuthority, type PeopleAuthority } from '../../test/fixtures/operator-certificates.ts';
import { CERTIFICATE_NAMES } from './certificate-name.ts';

let people: PeopleAuthority;
beforeAll(async () => {
  people = await makePeopleAuthority();
});

it.each([
  ['cn', ['Ada'], [], 'ada'],
  ['cn', ['Ada Lovelace'], [], undefined],
  ['cn', ['a'.repeat(64)], [], 'a'.repeat(64)],
  ['cn', ['-ada'], [], undefined],
  ['email', ['x'], [{ type: 'email', value: 'ada+eve@example.com' }], undefined],
  ['email', ['x'], [{ type: 'email', value: `ada@${'a'.repeat(61)}` }], undefined],
  ['cn', ['ada', 'eve'], [], undefined],
  ['cn', [], [{ type: 'email', value: 'ada@example.com' }], undefined],
  ['email', ['x'], [{ type: 'email', value: 'Ada@example.com' }], 'ada-example.com'],
  [
    'email',
    ['x'],
    [
      { type: 'dns', value: 'eve' },
      { type: 'email', value: 'ada@example.com' },
    ],
    'ada-example.com',
  ],
  [
    'email',
    ['x'],
    [
      { type: 'email', value: 'ada@a.example' },
      { type: 'email', value: 'eve@a.example' },
    ],
    undefined,
  ],
  ['email', ['x'], [{ type: 'dns', value: 'x, email:ada@example.com' }], undefined],
  ['email', ['ada@example.com'], [], undefined],
  ['uri', ['x'], [{ type: 'url', value: 'https://example.com/people/Ada' }], 'ada'],
  ['uri', ['x'], [{ type: 'url', value: 'https://example.com/people/' }], undefined],
  ['uri', ['x'], [{ type: 'dns', value: 'x, URI:https://example.com/ada' }], undefined],
] as const)('the name by %s of %j with %j is %s', async (kind, cn, san, name) => {
  const { cert } = await people.issue({ cn, san: san as never });
  expect(CERTIFICATE_NAMES[kind](new X509Certificate(cert))).toBe(name);
});
