import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const module = fileURLToPath(new URL('logger.ts', import.meta.url));

/** The output on standard error when a process logs `fields`. */
function logged(level: string, fields: string): string {
  const script = `import { createLogger } from ${JSON.stringify(module)}; createLogger('${level}').info(${fields}, 'logged');`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).stderr;
}

describe('the logger', () => {
  it('redacts secret fields at several depths', () => {
    const line = logged(
      'info',
      `{ password: 's3cret', token: 's3cret', request: { headers: { authorization: 's3cret' } }, tls: { key: 's3cret' }, device: 'dev-1' }`,
    );
    expect(JSON.parse(line)).toMatchObject({
      level: 'info',
      device: 'dev-1',
      password: '[redacted]',
      tls: { key: '[redacted]' },
      msg: 'logged',
    });
    expect(line).not.toContain('s3cret');
  });

  it.each([
    ['in a list', "{ peers: [{ token: 's3cret' }] }"],
    ['far down', "{ a: { b: { c: { d: { e: { f: { g: 's3cret' } } } } } } }"],
    ['on an error', "{ err: Object.assign(new Error('no'), { config: { password: 's3cret' } }) }"],
  ])('redacts a secret %s', (_, fields) => {
    const line = logged('info', fields);
    expect(JSON.parse(line)).toMatchObject({ msg: 'logged' });
    expect(line).not.toContain('s3cret');
  });

  it('redacts the bindings of a child logger, and does not change the fields of its caller', () => {
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

  it('escapes control characters of terminals in names and values, and keeps the value', () => {
    const hostile = '\\u009b2J\\u202e\\u2028\\u001b[2J\\u007f';
    const line = logged('info', `{ ['${hostile}']: { name: ['${hostile}'] }, err: new Error('${hostile}') }`);
    expect(line).toMatch(/^[ -~]+\n$/);
    const value = JSON.parse(`"${hostile}"`) as string;
    expect(JSON.parse(line)).toMatchObject({ [value]: { name: [value] }, err: { message: value } });
  });

  it('writes to standard error only, and nothing below its level', () => {
    const script = `import { createLogger } from ${JSON.stringify(module)}; createLogger('warn').warn('logged');`;
    expect(
      execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] })
        .length,
    ).toBe(0);
    expect(logged('warn', '{}')).toBe('');
  });
});
