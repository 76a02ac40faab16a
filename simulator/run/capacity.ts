/**
 * Whether this machine can hold the run at all: open files, and local ports for each source address. Asked before the
 * first connection, because a run that fails in the middle for want of files looks like a broken server.
 */

import { readFileSync } from 'node:fs';
import { parseDecimal } from '@rollcall/protocol';

export interface Capacity {
  readonly openFiles: number;
  readonly portsPerAddress: number;
}

/** The program's own, its servers' and its workers' files. */
const OWN_FILES = 150;
const UNKNOWN: Capacity = { openFiles: 1_024, portsPerAddress: 28_232 };

/** From /proc; where there is none, what most systems begin with. */
export function machineCapacity(read = (path: string) => readFileSync(path, 'utf8')): Capacity {
  const attempt = (path: string) => {
    try {
      return read(path);
    } catch {
      return '';
    }
  };
  const files = /^Max open files\s+(\d+|unlimited)/m.exec(attempt('/proc/self/limits'))?.[1];
  const ports = /^(\d+)\s+(\d+)/.exec(attempt('/proc/sys/net/ipv4/ip_local_port_range'));
  const [first, last] = [parseDecimal(ports?.[1], 0, 65_535), parseDecimal(ports?.[2], 0, 65_535)];
  return {
    openFiles: files === 'unlimited' ? Number.MAX_SAFE_INTEGER : (parseDecimal(files, 1) ?? UNKNOWN.openFiles),
    portsPerAddress: first === undefined || last === undefined ? UNKNOWN.portsPerAddress : last - first + 1,
  };
}

export interface Demand {
  readonly devices: number;
  /** Of them, those behind the inner proxy: three sockets each. */
  readonly behindProxy: number;
  readonly sourceAddresses: number;
}

/** One sentence on what is missing and what to do about it; undefined when the run fits. */
export function shortfall({ devices, behindProxy, sourceAddresses }: Demand, capacity: Capacity): string | undefined {
  const files = devices + 2 * behindProxy + OWN_FILES;
  if (files > capacity.openFiles) {
    return `expected room for ${files} open files (${devices} devices), found a limit of ${capacity.openFiles} for this process: raise it with "ulimit -n", or take fewer devices with --scale`;
  }
  const ports = capacity.portsPerAddress * Math.max(1, sourceAddresses);
  if (devices > ports) {
    return `expected local ports for ${devices} devices, found ${ports}: give more addresses with --source-address, or widen net.ipv4.ip_local_port_range`;
  }
  return undefined;
}
