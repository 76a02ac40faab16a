import { expect, it } from 'vitest';
import {
  clientIdOf,
  FLEET_NAMES,
  isClientIdTemplate,
  isTopicTemplate,
  readTelemetryTopic,
  telemetryFilter,
  topicOf,
} from './broker-names.ts';

it.each(['site/{id}/{stream}', '{stream}/{id}', '{id}/a b/{stream}/x', FLEET_NAMES.topic])(
  '%s is a topic template',
  (text) => {
    expect(isTopicTemplate(text)).toBe(true);
  },
);

it.each([
  '{id}',
  'a/{id}-{stream}',
  'a/+/{id}/{stream}',
  '{id}/{stream}/#',
  '{id}/{id}/{stream}',
  '/{id}/{stream}/',
  '{x}/{id}/{stream}',
  '',
])('%j is no topic template', (text) => {
  expect(isTopicTemplate(text)).toBe(false);
});

it('a client id template contains the id once', () => {
  expect(['{id}', 'thing-{id}'].every(isClientIdTemplate)).toBe(true);
  expect(['thing', '{id}{id}', '{id}-{x}'].some(isClientIdTemplate)).toBe(false);
  expect(clientIdOf({ ...FLEET_NAMES, clientId: 'thing-{id}' }, 'a$&b')).toBe('thing-a$&b');
});

it('device and stream of a topic are read back, and another topic has none', () => {
  const names = { topic: 'dt/a.b/{id}/{stream}', clientId: '{id}' };
  expect(telemetryFilter(names)).toBe('dt/a.b/+/+');
  expect(readTelemetryTopic(names, topicOf(names, 'pump-1', 'rpm'))).toEqual({ device: 'pump-1', stream: 'rpm' });
  expect(readTelemetryTopic(names, 'dt/aXb/pump-1/rpm')).toBeUndefined();
  expect(readTelemetryTopic(names, 'dt/a.b/pump-1/rpm/more')).toBeUndefined();
  expect(readTelemetryTopic(FLEET_NAMES, topicOf(FLEET_NAMES, 'pump-1', 'rpm'))).toMatchObject({
    device: 'pump-1',
    stream: 'rpm',
  });
});
