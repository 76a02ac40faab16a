import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    env: {
      // Processes that tests start share what Node compiled: most of a start is compiling. Node checks that the sources are the same.
      NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/rollcall-compiled', import.meta.url)),
    },
    pool: 'forks',
    // A busy machine is slower, not wrong: a test waits for what has to happen, and fails when it does not.
    testTimeout: 90_000,
    hookTimeout: 90_000,
    expect: { poll: { timeout: 30_000 } },
  },
});
