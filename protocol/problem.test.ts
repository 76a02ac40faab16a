import { describe, expect, it } from 'vitest';
import { asProblem, PROBLEMS, Problem, problemDocument } from './problem.ts';

describe('a problem', () => {
  it('tells the outside its sentence and keeps the reason for the log', () => {
    const problem = new Problem('token_rejected', { reason: 'spent' });
    expect(problem.message).toContain('spent');
    expect(JSON.stringify(problemDocument(problem, 0))).not.toContain('spent');
  });

  it('is a problem document with the server time in it', () => {
    expect(problemDocument(new Problem('csr_malformed'), 0)).toEqual({
      type: 'urn:rollcall:problem:csr_malformed',
      title: PROBLEMS.csr_malformed.sentence,
      status: 400,
      code: 'csr_malformed',
      detail: PROBLEMS.csr_malformed.sentence,
      time: '1970-01-01T00:00:00.000Z',
    });
  });

  it('made from an unexpected error says nothing of it outside', () => {
    const problem = asProblem(new Error('password=hunter2'));
    expect(problem.code).toBe('internal');
    expect(JSON.stringify(problemDocument(problem, 0))).not.toContain('hunter2');
  });

  it('has a sentence without a capital or a full stop for each code', () => {
    for (const [code, { sentence }] of Object.entries(PROBLEMS)) expect(sentence, code).toMatch(/^[a-z].*[^.]$/);
  });
});
