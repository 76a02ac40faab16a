/** A server that is killed between the deletion of telemetry and the audit entry of it. */

import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { openRegistry } from '../registry/open.ts';
import { openTelemetry } from '../telemetry/open.ts';

const CHILD = fileURLToPath(new URL('../test/fixtures/console/killed-prune.ts', import.meta.url));

it.each([
  ['before', 2],
  ['after', 1],
] as const)(
  'stands in the audit with who asked and for what, killed right %s the journal was pruned',
  async (when, left) => {
    const { stdout, stderr, signal } = spawnSync(process.execPath, [CHILD, when], { encoding: 'utf8' });
    expect(signal, stderr).toBe('SIGKILL');
    const dir = stdout.trim();
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
    const log = pino({ level: 'silent' });
    const registry = await openRegistry({ file: join(dir, 'registry.db'), now: Date.now, log });
    const telemetry = await openTelemetry({ directory: join(dir, 'telemetry'), now: Date.now, log });
    try {
      expect((await telemetry.stats()).messages).toBe(left);
      expect(await registry.listAudit({ subject: 'telemetry/*', limit: 10 })).toMatchObject([
        {
          actor: 'operator/unix',
          action: 'telemetry.prune.begun',
          outcome: 'done',
          details: { olderThanSeconds: 86_400 },
        },
      ]);
      expect((await registry.verifyAudit()).fault).toBeUndefined();
    } finally {
      await telemetry.close();
      await registry.close();
    }
  },
);
