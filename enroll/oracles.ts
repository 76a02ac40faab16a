/** Other people's programs that judge what we made, for tests; each test says what it skips where they are not installed. */

import { spawnSync } from 'node:child_process';

export interface OracleAnswer {
  readonly status: number | null;
  /** Standard output and error together. */
  readonly text: string;
}

export function consult(program: string, args: readonly string[], input?: string | Buffer): OracleAnswer {
  const { status, stdout, stderr } = spawnSync(program, [...args], { input, timeout: 20_000 });
  return { status, text: `${stdout}${stderr}` };
}
