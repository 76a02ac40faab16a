import { describe, expect, it } from 'vitest';
import { formatBootstrapToken, parseBootstrapToken } from './bootstrap-token.ts';
import { canonicalHost, defaultMqttUrl, parseEnrollUrl, parseMqttUrl, serverUrl, urlHost } from './server-urls.ts';

/** What an operator may write as the public host, and the one form in which it stands in URLs and certificates. */
const HOSTS = [
  ['fleet.example.com', 'fleet.example.com'],
  ['FLEET.example.com', 'fleet.example.com'],
  ['2001:DB8::1', '2001:db8::1'],
  ['[2001:DB8::1]', '2001:db8::1'],
  ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
  ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['::ffff:127.0.0.1', '127.0.0.1'],
  ['::FFFF:7f00:1', '127.0.0.1'],
  ['0:0:0:0:0:ffff:10.1.2.3', '10.1.2.3'],
  ['127.1', '127.0.0.1'],
  ['0x7f.1', '127.0.0.1'],
  ['2130706433', '127.0.0.1'],
  ['bücher.example', 'xn--bcher-kva.example'],
  ['BÜCHER.example', 'xn--bcher-kva.example'],
] as const;

describe.each(HOSTS)('the public host %s', (written, canonical) => {
  it('has one canonical form, which is its own', () => {
    expect(canonicalHost(written)).toBe(canonical);
    expect(canonicalHost(canonical)).toBe(canonical);
  });

  it.each([443, 8443, 80])('makes an enroll URL with port %d that a token carries unchanged', (port) => {
    const url = serverUrl('https', canonical, port);
    expect(parseEnrollUrl(url)).toBe(url);
    expect(urlHost(url)).toBe(canonical);
    expect(parseBootstrapToken(tokenFor(url))?.enrollUrl).toBe(url);
    expect(formatBootstrapToken(parseBootstrapToken(tokenFor(url)) as never)).toBe(tokenFor(url));
  });

  it('is recognized in every other text of the same URL', () => {
    const authority = written.includes(':') && !written.startsWith('[') ? `[${written}]` : written;
    const url = serverUrl('https', canonical, 443);
    for (const text of [`https://${authority}`, `HTTPS://${authority}:443`, `https://${authority}:0443/`]) {
      expect(parseEnrollUrl(text)).toBe(url);
      expect(parseBootstrapToken(tokenFor(text))?.enrollUrl).toBe(url);
    }
    expect(parseMqttUrl(`MQTTS://${authority}`)).toBe(serverUrl('mqtts', canonical, 8883));
    expect(parseMqttUrl(`mqtts://${authority}:443`)).toBe(serverUrl('mqtts', canonical, 443));
  });
});

function tokenFor(enrollUrl: string): string {
  const secret = Buffer.alloc(20, 7).toString('base64url');
  return formatBootstrapToken({ id: '00ff00ff00ff00ff', secret, rootSha256: 'ab'.repeat(32), enrollUrl });
}

it.each([
  '',
  'a b',
  'a\n',
  'a@b',
  'a:80',
  '[::1]:443',
  'a/b',
  'a?b',
  'a#b',
  'a%2fb',
  'fe80::1%eth0',
  '::g',
  '[fleet.example]',
  '1.2.3.4.5',
  '256.0.0.1',
  'a'.repeat(600),
])('%j is no host that a URL can hold', (text) => {
  expect(canonicalHost(text)).toBeUndefined();
});

describe('an enroll URL', () => {
  it.each([
    ['https://fleet.example:8443', 'https://fleet.example:8443'],
    ['https://fleet.example/', 'https://fleet.example'],
    ['https://[::1]:8443', 'https://[::1]:8443'],
    ['http://fleet.example', undefined],
    ['https://user:secret@fleet.example', undefined],
    ['https://fleet.example/est', undefined],
    ['https://fleet.example?x', undefined],
    ['https://', undefined],
    [`https://${'a'.repeat(600)}`, undefined],
  ])('%s', (text, expected) => {
    expect(parseEnrollUrl(text)).toBe(expected);
  });
});

describe('an MQTT URL', () => {
  it.each([
    ['mqtts://fleet.example:18883', 'mqtts://fleet.example:18883'],
    ['mqtts://fleet.example', 'mqtts://fleet.example:8883'],
    ['mqtts://[::1]:8883', 'mqtts://[::1]:8883'],
    ['mqtt://fleet.example', undefined],
    ['mqtts://user:secret@fleet.example', undefined],
    ['mqtts://fleet.example/topic', undefined],
    ['mqtts://', undefined],
    ['mqtts://fleet.example:99999', undefined],
  ])('%s', (text, expected) => {
    expect(parseMqttUrl(text)).toBe(expected);
  });

  it('is on the enroll host unless somebody says otherwise', () => {
    expect(defaultMqttUrl('https://fleet.example:8443')).toBe('mqtts://fleet.example:8883');
    expect(defaultMqttUrl('https://[::1]')).toBe('mqtts://[::1]:8883');
  });
});
