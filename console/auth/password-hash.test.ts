import { describe, expect, it } from 'vitest';
import { PasswordHasher } from './password-hash.ts';

const PASSWORD = 'correct horse battery staple';

describe('a password hash', () => {
  it('has its parameters and a salt of its own, and not the password', async () => {
    const hasher = new PasswordHasher();
    const [one, two] = [await hasher.hash(PASSWORD), await hasher.hash(PASSWORD)];
    expect(one).toMatch(/^scrypt\$16384\$8\$1\$[\w-]{22}\$[\w-]{43}$/);
    expect(one).not.toBe(two);
    expect(await hasher.verify(PASSWORD, one, 'other')).toBe(true);
    expect(await hasher.verify(`${PASSWORD} `, one, 'other')).toBe(false);
  });

  it('with other parameters is still verified', async () => {
    const weaker = 'scrypt$1024$8$1$c2FsdHNhbHRzYWx0c2FsdA$bHXojks4sm1uMH4CDw9EcLZ_muyLxbYYc9xGzvNAnuQ';
    expect(await new PasswordHasher().verify(PASSWORD, weaker, 'other')).toBe(true);
  });

  it('is compared with a password even when there is none, so that the answer takes as long', async () => {
    const hasher = new PasswordHasher();
    expect(await hasher.verify(PASSWORD, undefined, 'other')).toBe(false);
  });

  it.each([
    ['eleven characters', 'elevenchars', false],
    ['twelve characters', 'twelve chars', true],
    ['twelve characters outside the basic plane', '🔑'.repeat(12), true],
    ['1,024 bytes', 'é'.repeat(512), true],
    ['1,026 bytes', 'é'.repeat(513), false],
  ])('of %s is made: %s', async (_, password, isAccepted) => {
    const hashed = await new PasswordHasher().hash(password).then(
      () => true,
      (error: unknown) => error,
    );
    expect(hashed).toEqual(isAccepted ? true : expect.objectContaining({ code: 'password_refused' }));
  });

  it('is computed two at a time, with a short queue of strangers that operators on known networks pass', async () => {
    const hasher = new PasswordHasher();
    const order: string[] = [];
    const verify = (queue: 'known' | 'other') =>
      hasher.verify(PASSWORD, undefined, queue).then(() => order.push(queue));
    const strangers = Array.from({ length: 18 }, () => verify('other'));
    await expect(hasher.verify(PASSWORD, undefined, 'other')).rejects.toMatchObject({ code: 'rate_limited' });
    const known = verify('known');
    await Promise.all([...strangers, known]);
    expect(order.indexOf('known')).toBeLessThan(5);
  });
});
