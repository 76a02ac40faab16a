import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const module = fileURLToPath(new URL('logger.ts', import.meta.url));

/** What arrives on standard error when a process logs `fields`. */
function logged(level: string, fields: string): string {
  const script = `import { createLogger } from ${JSON.stringify(module)}; createLogger('${level}').info(${fields}, 'said');`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).stderr;
}

describe('the logger', () => {
  it('blots out what must never be written, at the depths where mistakes are made', () => {
    const line = logged(
      'info',
      `{ password: 's3cret', token: 's3cret', request: { headers: { authorization: 's3cret' } }, tls: { key: 's3cret' }, device: 'dev-1' }`,
    );
    expect(JSON.parse(line)).toMatchObject({
      level: 'info',
      device: 'dev-1',
      password: '[redacted]',
      tls: { key: '[redacted]' },
      msg: 'said',
    });
    expect(line).not.toContain('s3cret');
  });

  it.each([
    ['in a list', "{ peers: [{ token: 's3cret' }] }"],
    ['far down', "{ a: { b: { c: { d: { e: { f: { g: 's3cret' } } } } } } }"],
    ['on an error', "{ err: Object.assign(new Error('no'), { config: { password: 's3cret' } }) }"],
  ])('blots out a secret %s', (_, fields) => {
    const line = logged('info', fields);
    expect(JSON.parse(line)).toMatchObject({ msg: 'said' });
    expect(line).not.toContain('s3cret');
  });

  it('blots out what a child logger was made with, and leaves the fields of its caller as they are', () => {
    const script = `import { createLogger } from ${JSON.stringify(module)};
      const fields = { tls: { key: 'mine' } };
      createLogger('info').child({ component: 'enroll' }).child({ token: 's3cret' }).info(fields, fields.tls.key);`;
    const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(JSON.parse(stderr)).toMatchObject({
      component: 'enroll',
      token: '[redacted]',
      tls: { key: '[redacted]' },
      msg: 'mine',
    });
  });

  it('escapes what a terminal obeys, wherever it stands, and keeps its value', () => {
    const hostile = '\\u009b2J\\u202e\\u2028\\u001b[2J\\u007f';
    const line = logged('info', `{ ['${hostile}']: { name: ['${hostile}'] }, err: new Error('${hostile}') }`);
    expect(line).toMatch(/^[ -~]+\n$/);
    const value = JSON.parse(`"${hostile}"`) as string;
    expect(JSON.parse(line)).toMatchObject({ [value]: { name: [value] }, err: { message: value } });
  });

  it('writes to standard error only, and nothing below its level', () => {
    const script = `import { createLogger } from ${JSON.stringify(module)}; createLogger('warn').warn('said');`;
    expect(
      execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] })
        .length,
    ).toBe(0);
    expect(logged('warn', '{}')).toBe('');
  });
});
