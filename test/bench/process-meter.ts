/**
 * What a process has used so far, read from outside and in the same way for every server, whatever it is written in:
 * Linux' /proc. All threads of the process count; its children don't.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Linux reports CPU in /proc/PID/stat in these, on every architecture that Node runs on (USER_HZ). */
const TICK_MICROSECONDS = 10_000;

/** A server that uses less than this in that time has finished its work; how long that is waited for. */
const QUIET_MICROSECONDS = 500;
const QUIET_MS = 60;
const QUIET_WITHIN_MS = 5_000;

/**
 * User and system time in microseconds. From the scheduler's own count where the kernel has one: in nanoseconds, for
 * threads that live, and none of our servers ends a thread while it works. Otherwise in steps of 10 ms.
 */
export function cpuOf(pid: number): number {
  try {
    let nanoseconds = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`)) nanoseconds += threadNanoseconds(pid, thread);
    if (nanoseconds > 0) return nanoseconds / 1000;
  } catch {
    // a kernel without CONFIG_SCHED_INFO
  }
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  // The second field is the program's name in parentheses, which may hold spaces; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MICROSECONDS;
}

/** The same of its main thread alone. */
export function mainThreadCpuOf(pid: number): number {
  return threadNanoseconds(pid, pid) / 1000;
}

function threadNanoseconds(pid: number, thread: number | string): number {
  return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
}

/** Of a process and its children, in microseconds, as `cpuOf`; of children that have ended in steps of 10 ms. */
export function cpuOfFamily(pid: number): number {
  let micros = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const fields = statFieldsOf(name);
    if (fields === undefined) continue;
    const isParent = name === String(pid);
    if (isParent) micros += (Number(fields[13]) + Number(fields[14])) * TICK_MICROSECONDS;
    if (isParent || fields[1] === String(pid)) micros += cpuOfLiving(Number(name));
  }
  return micros;
}

/** 0 when the process has ended meanwhile. */
function cpuOfLiving(pid: number): number {
  try {
    return cpuOf(pid);
  } catch {
    return 0;
  }
}

/** From the third field on. Undefined when the process is gone. */
function statFieldsOf(pid: string): readonly string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** Resident memory in bytes. */
export function residentOf(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'));
  if (line === null) throw new Error('expected VmRSS in /proc/PID/status, found none');
  return Number(line[1]) * 1024;
}

/** Waits until a process is idle, so that work which follows a load is counted with it. */
export async function untilQuiet(pid: number): Promise<void> {
  const deadline = performance.now() + QUIET_WITHIN_MS;
  let before = cpuOf(pid);
  while (performance.now() < deadline) {
    await sleep(QUIET_MS);
    const after = cpuOf(pid);
    if (after - before < QUIET_MICROSECONDS) return;
    before = after;
  }
}
