/**
 * What `run.ts` measured: on two cores of a virtual machine (Intel Xeon, Linux 6.18, Node 24.22), which other programs kept busy with a load average of
 * 17 to 25. PostgreSQL 15 with two standbys on the same machine.
 */

import type { Costs, Run } from './model.ts';

export const COSTS: { readonly embedded: Costs; readonly shared: Costs } = {
  embedded: {
    node: {
      restMicros: 3199,
      enrollmentMicros: 8218,
      connectMicros: 3738,
      messageMicros: 57.2,
      commitMicros: 798,
      revocationMicros: 676,
    },
    primary: {
      restMicros: 0,
      enrollmentMicros: 0,
      connectMicros: 0,
      messageMicros: 0,
      commitMicros: 0,
      revocationMicros: 0,
    },
    standby: {
      restMicros: 0,
      enrollmentMicros: 0,
      connectMicros: 0,
      messageMicros: 0,
      commitMicros: 0,
      revocationMicros: 0,
    },
    baseMiB: 358,
    deviceKiB: 70.9,
    batchMs: 6.7,
    revocationMs: 1.7,
  },
  shared: {
    node: {
      restMicros: 22402,
      enrollmentMicros: 10986,
      connectMicros: 2999,
      messageMicros: 96.8,
      commitMicros: 904,
      revocationMicros: 2054,
    },
    primary: {
      restMicros: 22070,
      enrollmentMicros: 6455,
      connectMicros: 1371,
      messageMicros: 0,
      commitMicros: 729,
      revocationMicros: 1907,
    },
    standby: {
      restMicros: 2759,
      enrollmentMicros: 485,
      connectMicros: 246,
      messageMicros: 0.3,
      commitMicros: 217,
      revocationMicros: 113,
    },
    baseMiB: 309,
    deviceKiB: 38.5,
    batchMs: 21.5,
    revocationMs: 11.7,
  },
};

export const RUNS: readonly Run[] = [
  {
    nodes: 0,
    devices: 240,
    seconds: 44.11,
    connects: 240,
    messages: 2963,
    unacknowledged: 0,
    commits: 1744,
    nodesSeconds: 3.71,
    primarySeconds: 0,
    standbySeconds: 0,
    residentMiB: 331.3,
  },
  {
    nodes: 1,
    devices: 240,
    seconds: 37.94,
    connects: 240,
    messages: 2849,
    unacknowledged: 0,
    commits: 1283,
    nodesSeconds: 3.44,
    primarySeconds: 1.95,
    standbySeconds: 0.41,
    residentMiB: 341.24,
  },
  {
    nodes: 2,
    devices: 240,
    seconds: 44.66,
    connects: 240,
    messages: 2636,
    unacknowledged: 0,
    commits: 1337,
    nodesSeconds: 4.87,
    primarySeconds: 3,
    standbySeconds: 0.55,
    residentMiB: 246.23,
  },
  {
    nodes: 3,
    devices: 240,
    seconds: 40.86,
    connects: 240,
    messages: 2996,
    unacknowledged: 0,
    commits: 2604,
    nodesSeconds: 7.43,
    primarySeconds: 4.77,
    standbySeconds: 0.69,
    residentMiB: 199.74,
  },
];
