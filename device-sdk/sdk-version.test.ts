import { readFileSync } from 'node:fs';
import { parseSdkVersion } from '@rollcall/protocol';
import { expect, it } from 'vitest';
import { SDK_VERSION } from './sdk-version.ts';

it('the SDK states the version of its package, in the form that the broker accepts', () => {
  const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8')) as { version: string };
  expect(SDK_VERSION).toBe(`rollcall-device-sdk/${version}`);
  expect(parseSdkVersion(SDK_VERSION)).toBe(SDK_VERSION);
});
