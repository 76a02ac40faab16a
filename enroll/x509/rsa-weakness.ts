/**
 * Finds RSA moduli that are known to be easy to factor: those with a small factor, those made by the ROCA-flawed Infineon
 * library (CVE-2017-15361), and those whose primes lie close together (Fermat). Arithmetic only; knows no encoding.
 */

/** Small factors up to here are looked for: the limit that public CAs use. */
const SMALL_FACTOR_BELOW = 752;

/** Rounds of Fermat's method; primes chosen at random are never within reach of so few. */
const FERMAT_ROUNDS = 100;

const SMALL_PRIMES = primesBelow(SMALL_FACTOR_BELOW);

/** Primes of the flawed library's primorial for every key length from 512 bits on; larger keys use more, which this still catches. */
const ROCA_PRIMES = SMALL_PRIMES.filter((prime) => prime > 2 && prime <= 167);
const ROCA_GENERATOR = 65537;

/** For each prime, the residues that powers of the generator reach: a flawed modulus is always one of them. */
const ROCA_RESIDUES: readonly ReadonlySet<number>[] = ROCA_PRIMES.map((prime) => {
  const residues = new Set<number>();
  for (let power = 1; !residues.has(power); power = (power * (ROCA_GENERATOR % prime)) % prime) residues.add(power);
  return residues;
});

/** The product of the small primes: one division of a long number in place of a hundred. */
const SMALL_PRODUCT = SMALL_PRIMES.reduce((product, prime) => product * BigInt(prime), 1n);

/** What is wrong with the modulus, or undefined. */
export function rsaModulusWeakness(modulus: bigint): string | undefined {
  const rest = modulus % SMALL_PRODUCT;
  if (SMALL_PRIMES.some((prime) => rest % BigInt(prime) === 0n)) return 'found an RSA modulus with a small factor';
  const flawed = ROCA_PRIMES.every((prime, at) => ROCA_RESIDUES[at]?.has(Number(rest % BigInt(prime))));
  if (flawed) return 'found an RSA key of a flawed generator (ROCA)';
  if (hasClosePrimes(modulus)) return 'found an RSA modulus of two close primes';
  return undefined;
}

/** Fermat: n = a^2 - b^2 with a barely above the square root of n. */
function hasClosePrimes(modulus: bigint): boolean {
  let a = squareRoot(modulus);
  if (a * a < modulus) a += 1n;
  let square = a * a - modulus;
  for (let round = 0; round < FERMAT_ROUNDS; round += 1) {
    if (isSquare(square)) return true;
    square += 2n * a + 1n; // (a + 1)^2 - n
    a += 1n;
  }
  return false;
}

/** Squares leave 12 residues modulo 64; the others need no root. */
const SQUARES_MODULO_64 = new Set(Array.from({ length: 64 }, (_, root) => (root * root) % 64));

function isSquare(value: bigint): boolean {
  if (!SQUARES_MODULO_64.has(Number(value & 63n))) return false;
  const root = squareRoot(value);
  return root * root === value;
}

/** Newton's method from above. */
function squareRoot(value: bigint): bigint {
  if (value < 2n) return value;
  let root = 1n << BigInt(Math.ceil(value.toString(16).length / 2) * 4);
  for (;;) {
    const next = (root + value / root) >> 1n;
    if (next >= root) return root;
    root = next;
  }
}

function primesBelow(limit: number): readonly number[] {
  const primes: number[] = [];
  for (let candidate = 2; candidate < limit; candidate += 1) {
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate);
  }
  return primes;
}
