import { describe, expect, it } from 'vitest';
import { checkPostgresSettings, parsePostgresUrl } from './settings.ts';

describe('the URL of a database', () => {
  it.each([
    ['postgres://rollcall@db.example/fleet', [{ host: 'db.example', port: 5432 }]],
    [
      'postgresql://rollcall@a.example,b.example:6432,[2001:db8::1]:5433/fleet',
      [
        { host: 'a.example', port: 5432 },
        { host: 'b.example', port: 6432 },
        { host: '2001:db8::1', port: 5433 },
      ],
    ],
    ['postgres://rollcall@%2Frun%2Fpostgresql/fleet', [{ host: '/run/postgresql', port: 5432 }]],
  ])('names hosts, a user and a database: %s', (url, hosts) => {
    expect(parsePostgresUrl(url)).toEqual({ hosts, user: 'rollcall', database: 'fleet' });
  });

  it('may contain percent-encoded characters', () => {
    expect(parsePostgresUrl('postgres://a%40b@db/f%2Fg')).toMatchObject({ user: 'a@b', database: 'f/g' });
  });

  it.each([
    ['postgres://rollcall:swordfish@db/fleet', 'without a password; write it into a file'],
    ['postgres://rollcall@db/fleet?password=swordfish', 'without query and fragment'],
    ['postgres://db', 'of the form'],
    ['https://db/swordfish', 'begins with postgres://'],
    ['postgres://swordfish@db:0/fleet', 'a port from 1 to 65535'],
    ['postgres://swordfish@db:99999/fleet', 'a port from 1 to 65535'],
    ['postgres://swordfish@a,,b/fleet', 'expected hosts'],
    ['postgres://db/%FF', 'percent-encoded'],
  ])('is refused without being repeated: %s', (url, words) => {
    const parse = () => parsePostgresUrl(url);
    expect(parse).toThrow(expect.objectContaining({ code: 'config_invalid', reason: expect.stringContaining(words) }));
    expect(parse).not.toThrow('swordfish');
  });

  it('needs TLS for every host that is not this machine', () => {
    const check = (url: string) => () => checkPostgresSettings(parsePostgresUrl(url));
    expect(check('postgres://localhost,127.0.0.1,[::1],%2Frun/fleet')).not.toThrow();
    expect(check('postgres://localhost,db.example/fleet')).toThrow('expected TLS for db.example');
  });
});
