import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';
import { COMPILE_CACHE } from './test/fixtures/process-marks.ts';

/** Suites of broker/ that also run over a keeper with two nodes: state of sessions, routing, access to it, and its end. */
const OF_SEVERAL_NODES = [
  'broker/access/{identity,policy-changes,resumption,rights,clone-detector}.test.ts',
  'broker/keeper/{message-persistence,persistent-sessions,stored-sessions,wills*}.test.ts',
  'broker/mqtt/{acknowledgement,backpressure,conformance-resumption,conformance-shared,inbound-qos2}.test.ts',
  'broker/mqtt/{outgoing-messages,outgoing-resumption,publish-races,qos2-reconnection,retained-delivery}.test.ts',
  'broker/routing/{granted-qos,message-keys,retained-limits}.test.ts',
  'broker/sessions/*.test.ts',
];

export default defineConfig({
  test: {
    env: {
      // Processes that tests start share what Node compiled: most of a start is compiling. Node checks that the sources are the same.
      NODE_COMPILE_CACHE: COMPILE_CACHE,
    },
    setupFiles: ['test/fixtures/end-started-processes.ts'],
    globalSetup: ['test/fixtures/leftover-processes.ts'],
    pool: 'forks',
    // Vitest's own number is one less than the cores: one on two cores. Most suites start programs and wait for them, for sockets and for
    // timers: a worker uses two thirds of a core.
    maxWorkers: availableParallelism() + 1,
    // In one file, beside the other files: more than two scenarios of the simulator at once have too little of two cores.
    maxConcurrency: 2,
    // A busy machine is slower, not wrong: a test waits for what has to happen, and fails when it does not.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 60_000 } },
    projects: [
      { extends: true, test: { name: 'one node', include: ['**/*.test.ts'] } },
      { extends: true, test: { name: 'two nodes', include: OF_SEVERAL_NODES, env: { ROLLCALL_TEST_NODES: '2' } } },
    ],
  },
});
