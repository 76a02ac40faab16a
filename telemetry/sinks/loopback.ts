/** Whether a host is this machine itself: only there may a target be spoken to without TLS. Resolves no names. */

import { isIP } from 'node:net';

export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  if (bare === 'localhost') return true; // RFC 6761, section 6.3
  if (isIP(bare) === 4) return bare.startsWith('127.');
  return bare === '::1';
}
