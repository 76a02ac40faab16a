import { expect, it } from 'vitest';
import { describeDemo, isComplete } from './demo-screen.ts';

it('a demo in which devices did not connect says why, the most frequent cause first', () => {
  const causes = { 'the server closed': 2, 'the name localhost does not resolve': 23 };
  const story = { devices: 25, connected: 0, causes, messages: 0 };
  expect(describeDemo(story).split('\n')).toEqual([
    '0 of 25 devices enrolled with one bootstrap token and connected over mutual TLS',
    'never connected: 23 x the name localhost does not resolve',
    'never connected: 2 x the server closed',
    '0 messages published, stored and acknowledged',
    'no device was revoked: the demo ended too early',
  ]);
  expect(isComplete(story)).toBe(false);
});
