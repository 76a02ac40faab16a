/** Results of simulations on disk: one file for each of the newest, in a directory of their own. Losing one costs a repetition. */

import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { SimulationRun } from '../../console/index.ts';

const KEPT = 20;
const MAX_BYTES = 4_194_304;
export const RUN_ID = /^[0-9a-f]{16}$/;

const stored = z.object({
  run: z.object({
    id: z.string().regex(RUN_ID),
    scenario: z.string(),
    durationSeconds: z.number(),
    startedAt: z.number(),
    startedBy: z.string(),
    endedAt: z.number(),
    state: z.enum(['passed', 'failed', 'stopped', 'broken']),
  }),
  result: z.unknown().optional(),
});

export interface StoredRun {
  readonly run: SimulationRun;
  readonly result: unknown;
}

export class SimulationReports {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Where the simulator writes the result of the run. */
  async resultFile(id: string): Promise<string> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    return join(this.#directory, `${id}.result`);
  }

  /** Reads and removes what the simulator wrote. Undefined when there is nothing usable. */
  async takeResult(id: string): Promise<unknown> {
    const file = await this.resultFile(id);
    const text = await readBounded(file);
    await rm(file, { force: true });
    return text === undefined ? undefined : parse(text);
  }

  /** Also removes the oldest beyond the newest 20. */
  async add(report: StoredRun): Promise<void> {
    const file = join(this.#directory, `${report.run.id}.json`);
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    await writeFile(`${file}.new`, JSON.stringify(report), { mode: 0o600 });
    await rename(`${file}.new`, file);
    for (const { run } of (await this.list()).slice(KEPT)) {
      await rm(join(this.#directory, `${run.id}.json`), { force: true });
    }
  }

  /** Newest first. Files that are no report are left out. */
  async list(): Promise<readonly StoredRun[]> {
    const names = await readdir(this.#directory).catch(() => []);
    const ids = names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length));
    const found = await Promise.all(ids.filter((id) => RUN_ID.test(id)).map((id) => this.find(id)));
    return found.filter((report) => report !== undefined).sort((one, other) => other.run.startedAt - one.run.startedAt);
  }

  /** Expects an id of 16 hexadecimal digits. */
  async find(id: string): Promise<StoredRun | undefined> {
    const text = await readBounded(join(this.#directory, `${id}.json`));
    const report = stored.safeParse(text === undefined ? undefined : parse(text));
    return report.success ? (report.data as StoredRun) : undefined;
  }
}

async function readBounded(file: string): Promise<string | undefined> {
  try {
    if ((await stat(file)).size > MAX_BYTES) return undefined;
    return await readFile(file, 'utf8');
  } catch {
    return undefined;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
