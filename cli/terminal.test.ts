import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';

describe('a failure', () => {
  it('is explained in its own lines, and without a control character of what it quotes', () => {
    const script = `import { Problem } from './protocol/problem.ts';
      import { explainFailure } from './cli/terminal.ts';
      const reason = 'first: \\u001b[2J\\nsecond: \\u009b2J \\u202e';
      explainFailure(new Problem('usage', { reason, hint: '\\u0007' }), 'text', 0);`;
    const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      cwd: new URL('..', import.meta.url),
      encoding: 'utf8',
    });
    expect(stderr).toMatch(/^rollcall: error: .*first: \\x1b\[2J\nsecond: \\x9b2J \\u202e\nrollcall: hint: \\x07\n$/);
  });
});
