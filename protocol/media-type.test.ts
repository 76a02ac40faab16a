import { describe, expect, it } from 'vitest';
import { isMediaType } from './media-type.ts';

describe('a media type', () => {
  it.each([
    'application/json',
    'text/plain; charset=utf-8',
    'application/vnd.fleet.climate+json',
    'text/plain;charset="utf-8" ; format=flowed',
    `a/${'b'.repeat(127)}`,
  ])('is %j', (text) => {
    expect(isMediaType(text)).toBe(true);
  });

  it.each([
    '',
    'json',
    'text/',
    '=cmd()/plain',
    '-1/1',
    'text/plain\r\nX-Injected: 1',
    'text/plain; charset="a\u0000"',
    'text/plain; charset="a\\"',
    'text/plain, text/html',
    'text/plain;',
    'tëxt/plain',
    `a/${'b'.repeat(128)}`,
    `text/plain${'; a=b'.repeat(60)}`,
  ])('is not %j', (text) => {
    expect(isMediaType(text)).toBe(false);
  });
});
