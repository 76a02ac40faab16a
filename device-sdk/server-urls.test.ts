import { describe, expect, it } from 'vitest';
import { defaultMqttUrl, parseEnrollUrl, parseMqttUrl } from './server-urls.ts';

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
