import { expect, it } from 'vitest';
import { causeSentences, describeCause, throttlingNote } from './error-causes.ts';

it.each([
  ['ECONNREFUSED', 'nothing accepts connections at this address (ECONNREFUSED)'],
  ['enroll_ECONNREFUSED', 'enrolling: nothing accepts connections at this address (enroll_ECONNREFUSED)'],
  ['token_rejected', 'the bootstrap token was not accepted (token_rejected)'],
  ['connack_not_authorized', 'the broker refused the connection: not authorized (connack_not_authorized)'],
  ['disconnect_session_taken_over', 'the broker disconnected: session taken over (disconnect_session_taken_over)'],
  ['something_else', 'something_else'],
])('the cause %s is the sentence "%s"', (cause, sentence) => {
  expect(describeCause(cause)).toBe(sentence);
});

it('the most frequent causes are listed, and the rest is counted', () => {
  expect(causeSentences({ a: 1, b: 9, c: 2, d: 4 }, 2)).toEqual(['9 x b', '4 x d', '3 x 2 other causes']);
});

it('only a run that was slowed down says so', () => {
  expect(throttlingNote(0)).toBeUndefined();
  expect(throttlingNote(3)).toContain('3 requests had to wait');
});
