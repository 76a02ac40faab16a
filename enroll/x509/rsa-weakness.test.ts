import { generateKeyPairSync, generatePrimeSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { rsaModulusWeakness } from './rsa-weakness.ts';

function modulusOf(bits: number): bigint {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: bits });
  const { n = '' } = publicKey.export({ format: 'jwk' });
  return BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`);
}

function hasSmallFactor(value: bigint): boolean {
  for (let factor = 2n; factor < 752n; factor += 1n) if (value % factor === 0n) return true;
  return false;
}

/** The next number that has no factor below 752; whether it is prime does not matter to the method. */
function rough(value: bigint): bigint {
  let found = value | 1n;
  while (hasSmallFactor(found)) found += 2n;
  return found;
}

describe('an RSA modulus', () => {
  it('is not weak when OpenSSL generated it', () => {
    for (const bits of [2048, 2048, 3072]) expect(rsaModulusWeakness(modulusOf(bits))).toBeUndefined();
  });

  it.each([2n, 3n, 751n])('is weak with the factor %s', (factor) => {
    expect(rsaModulusWeakness(rough(1n << 2040n) * factor)).toContain('small factor');
  });

  it('is not weak for the factor 757, which is beyond the limit', () => {
    expect(rsaModulusWeakness(rough(1n << 2040n) * 757n)).toBeUndefined();
  });

  it('is weak when its primes lie close together', () => {
    const p = generatePrimeSync(1024, { bigint: true });
    expect(rsaModulusWeakness(p * rough(p + 1_000_000n))).toContain('close primes');
    expect(rsaModulusWeakness(p * p)).toContain('close primes');
  });

  it('is not weak when its primes differ in their upper half', () => {
    const p = generatePrimeSync(1024, { bigint: true });
    expect(rsaModulusWeakness(p * rough(p + (1n << 600n)))).toBeUndefined();
  });

  it('is weak when it is a power of 65537 modulo every small prime, like those of the ROCA generator', () => {
    const primes = [
      3n,
      5n,
      7n,
      11n,
      13n,
      17n,
      19n,
      23n,
      29n,
      31n,
      37n,
      41n,
      43n,
      47n,
      53n,
      59n,
      61n,
      67n,
      71n,
      73n,
      79n,
    ];
    const more = [83n, 89n, 97n, 101n, 103n, 107n, 109n, 113n, 127n, 131n, 137n, 139n, 149n, 151n, 157n, 163n, 167n];
    const primorial = [...primes, ...more].reduce((product, prime) => product * prime, 2n);
    let residue = 1n;
    for (let power = 0; power < 1_234; power += 1) residue = (residue * 65537n) % primorial;
    let modulus = residue + primorial * ((1n << 2047n) / primorial);
    while (hasSmallFactor(modulus)) modulus += primorial;
    expect(rsaModulusWeakness(modulus)).toContain('ROCA');
    expect(rsaModulusWeakness(rough(modulus + 2n))).toBeUndefined();
  });
});
