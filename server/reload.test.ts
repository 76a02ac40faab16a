import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { settingPaths } from './config/config-sources.ts';
import { LIVE_OPTIONS } from './reload.ts';

it('every option that changes without a restart is an option of the configuration', () => {
  const paths = settingPaths().map((path) => path.join('.'));
  for (const option of LIVE_OPTIONS) {
    expect(
      paths.some((path) => path === option || path.startsWith(`${option}.`)),
      option,
    ).toBe(true);
  }
});

it('the page on production names the options that change without a restart', () => {
  const page = readFileSync(new URL('../docs/production.md', import.meta.url), 'utf8');
  for (const option of LIVE_OPTIONS) {
    const isNamed = page.includes(`\`${option}\``) || page.includes(`\`${option.split('.').at(-1)}\``);
    const isRate = /^enroll\.limits\.(enrollments|renewals|connections)PerSecond(PerAddress)?$/.test(option);
    expect(isNamed || isRate, option).toBe(true);
  }
});
