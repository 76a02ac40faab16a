import { afterEach, describe, expect, it, vi } from 'vitest';
import { Problem } from '../contract/problem.ts';
import { explainFailure } from './terminal.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a failure', () => {
  it('is explained in its own lines, and without a control character of what it quotes', () => {
    const written: string[] = [];
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(String(text)) > 0);
    const reason = 'first: \u001b[2J\nsecond: \u009b2J';
    explainFailure(new Problem('usage', { reason, hint: '\u0007' }), 'text', 0);
    expect(written.join('')).toMatch(/^rollcall: error: .*first: \\x1b\[2J\nsecond: \\x9b2J\nrollcall: hint: \\x07\n$/);
  });
});
