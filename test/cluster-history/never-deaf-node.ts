/**
 * A seeded fault: `rollcall serve` of a node that acts on for minutes although no heartbeat of it is confirmed. Others hold it for deaf, and a
 * proof says that it is. To be started in place of `bin/rollcall`.
 */

import { Command } from 'commander';
import { serveCommand } from '../../cli/commands/serve.ts';

/** Longer than a test. */
const NEVER_MS = 600_000;

const serve = serveCommand({ heartbeat: { deafAfter: NEVER_MS, expiredAfter: NEVER_MS } });
await new Command('rollcall').addCommand(serve).parseAsync();
