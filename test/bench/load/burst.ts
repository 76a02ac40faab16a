/** Runs a counted number of operations, so many at once, and measures what that took on this side. */

import { type LoadReport, ORDER_WITHIN_MS } from './orders.ts';

/** Throws when an operation fails or all of them together take too long. */
export async function burst(
  size: { readonly count: number; readonly inFlight: number },
  operation: (index: number) => Promise<void>,
): Promise<LoadReport> {
  return measured(async () => {
    let next = 0;
    const worker = async () => {
      while (next < size.count) {
        next += 1;
        await operation(next - 1);
      }
    };
    await Promise.all(Array.from({ length: Math.min(size.inFlight, size.count) }, worker));
  });
}

export async function measured(work: () => Promise<void>): Promise<LoadReport> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  let late: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    late = setTimeout(() => reject(new Error('the load did not finish in time')), ORDER_WITHIN_MS);
  });
  try {
    await Promise.race([work(), timeout]);
  } finally {
    clearTimeout(late);
  }
  const wallMs = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { wallMs, cpuMicros: user + system };
}
