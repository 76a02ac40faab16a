/** An authority with a registry of its own in one directory, as a server has them, for tests that open it more than once. */

import { join } from 'node:path';
import { pino } from 'pino';
import { openRegistry } from '../registry/open.ts';
import type { Registry } from '../registry/registry.ts';
import { type Authority, type AuthorityOptions, openAuthority } from './authority.ts';
import { TEST_LIFETIMES } from './test-lifetimes.ts';

export interface KeptAuthority {
  readonly authority: Authority;
  readonly registry: Registry;
  readonly clock: { now: number };
  /** Once; later calls do nothing. */
  close(): Promise<void>;
}

/** `data`: a directory that exists. */
export async function openKeptAuthority(data: string, changes: Partial<AuthorityOptions> = {}): Promise<KeptAuthority> {
  const clock = { now: Date.now() };
  const now = () => clock.now;
  const log = pino({ level: 'silent' });
  const registry = await openRegistry({ file: join(data, 'registry.db'), now, log });
  let isOpen = true;
  let authority: Authority;
  try {
    authority = await openAuthority({
      directory: join(data, 'ca'),
      trustDomain: 'fleet.example',
      hosts: ['localhost'],
      lifetimes: TEST_LIFETIMES,
      registry,
      now,
      log,
      ...changes,
    });
  } catch (error) {
    await registry.close();
    throw error;
  }
  const close = async () => {
    if (!isOpen) return;
    isOpen = false;
    await authority.close();
    await registry.close();
  };
  return { authority, registry, clock, close };
}
