import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DeviceId, GroupName } from './identity.ts';
import {
  broadcastFilter,
  broadcastTopic,
  commandTopic,
  eventTopic,
  filterCovers,
  filterMatches,
  isMessageKey,
  isShared,
  isTopicFilter,
  isTopicName,
  lengthWithoutKey,
  parseBroadcastTopic,
  parseDeviceTopic,
  parseShare,
  responseTopic,
  telemetryTopic,
  twinTopic,
} from './topics.ts';

const device = 'dev-7' as DeviceId;
const limits = { maxBytes: 256, maxLevels: 8 };

describe('the topics of a device', () => {
  it('are read back as they were built', () => {
    expect(parseDeviceTopic(telemetryTopic(device, 'temp'))).toEqual({ kind: 'telemetry', device, stream: 'temp' });
    expect(parseDeviceTopic(eventTopic(device, 'opened'))).toEqual({ kind: 'event', device, type: 'opened' });
    expect(parseDeviceTopic(responseTopic(device, 'r1'))).toEqual({ kind: 'response', device, requestId: 'r1' });
    expect(parseDeviceTopic(twinTopic(device, 'desired'))).toEqual({ kind: 'twin', device, side: 'desired' });
    expect(parseDeviceTopic(commandTopic(device, 'reboot', 'r1'))).toEqual({
      kind: 'command',
      device,
      name: 'reboot',
      requestId: 'r1',
    });
  });

  it.each([
    'devices/dev-7',
    'devices/dev-7/telemetry',
    'devices/dev-7/telemetry/',
    'devices/dev-7/telemetry/a/',
    'devices/dev-7/telemetry/a/b c',
    'devices/dev-7/telemetry/a/b/c',
    'devices//telemetry/a',
    'devices/+/telemetry/a',
    'Devices/dev-7/telemetry/a',
    'devices/dev-7/commands/a',
    'devices/dev-7/commands/a/b/c',
    '/devices/dev-7/telemetry/a',
  ])('do not include %s', (topic) => {
    expect(parseDeviceTopic(topic)).toBeUndefined();
  });

  it('name a message by a last level of telemetry, which is read back too', () => {
    const topic = telemetryTopic(device, 'temp', 'a1.7');
    expect(topic).toBe('devices/dev-7/telemetry/temp/a1.7');
    expect(parseDeviceTopic(topic)).toEqual({ kind: 'telemetry', device, stream: 'temp', key: 'a1.7' });
    expect(() => telemetryTopic(device, 'temp', 'a/b')).toThrow(RangeError);
    expect(['a', 'x'.repeat(64)].every(isMessageKey)).toBe(true);
    expect(['', '+', '-a', 'a b', 'x'.repeat(65)].some(isMessageKey)).toBe(false);
  });

  it.each([
    ['devices/dev-7/telemetry/temp/k1', 'devices/dev-7/telemetry/temp'],
    ['devices/dev-7/telemetry/temp/+', 'devices/dev-7/telemetry/temp'],
    ['devices/dev-7/telemetry/temp/', 'devices/dev-7/telemetry/temp'],
    ['devices/dev-7/telemetry/temp'],
    ['devices/dev-7/telemetry/temp/a/b'],
    ['devices/dev-7/events/a/b'],
    ['x/dev-7/telemetry/temp/k1'],
    ['devices/'],
    [''],
  ])('have a key or not: %j', (topic, keyless = topic) => {
    expect(topic.slice(0, lengthWithoutKey(topic))).toBe(keyless);
  });

  it.each(['', '+', '#', 'a/b', 'a b', '$x', '..', 'x'.repeat(65)])('are never built with %j as a level', (stream) => {
    expect(() => telemetryTopic(device, stream)).toThrow(RangeError);
  });
});

describe('a broadcast', () => {
  const group = 'press-hall' as GroupName;

  it('is read back, and found by the filter of its group', () => {
    const topic = broadcastTopic(group, 'night-mode');
    expect(parseBroadcastTopic(topic)).toEqual({ group, name: 'night-mode' });
    expect(filterMatches(broadcastFilter(group), topic)).toBe(true);
    expect(filterMatches(broadcastFilter('press' as GroupName), topic)).toBe(false);
  });

  it.each([
    'groups/a/broadcast',
    'groups/a/broadcast/b/c',
    'groups/+/broadcast/b',
    'groups//broadcast/b',
    'groups/a/x/b',
  ])('is not read from %s', (topic) => {
    expect(parseBroadcastTopic(topic)).toBeUndefined();
  });
});

describe('a topic name', () => {
  it.each(['a', '/', 'a//b', 'ä/b', '$SYS/x'])('may be %j', (topic) => {
    expect(isTopicName(topic, limits)).toBe(true);
  });

  it.each(['', 'a+', 'a/#', 'a\u0000b', 'x'.repeat(257), 'a/b/c/d/e/f/g/h/i'])('may not be %j', (topic) => {
    expect(isTopicName(topic, limits)).toBe(false);
  });
});

describe('a topic filter', () => {
  it.each(['#', '+', '+/#', 'a/+/b', '/+', 'a/#'])('may be %j', (filter) => {
    expect(isTopicFilter(filter, limits)).toBe(true);
  });

  it.each(['', 'a#', 'a/#/b', '#/a', 'a+/b', '++', 'a/b+', '\u0000'])('may not be %j', (filter) => {
    expect(isTopicFilter(filter, limits)).toBe(false);
  });

  // The examples of MQTT 3.1.1, section 4.7.
  it.each([
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
    ['sport/#', 'sport', true],
    ['sport/tennis/+', 'sport/tennis/player1', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['#', '$SYS/x', false],
    ['+/monitor/Clients', '$SYS/monitor/Clients', false],
    ['$SYS/#', '$SYS/x', true],
    ['$SYS/monitor/+', '$SYS/monitor/Clients', true],
    ['a/b', 'a/b/c', false],
    ['a/b/c', 'a/b', false],
    ['a', 'A', false],
  ])('%s against the topic %s: %s', (filter, topic, matches) => {
    expect(filterMatches(filter, topic)).toBe(matches);
  });

  it.each([
    ['devices/a/#', 'devices/a/+/x', true],
    ['devices/a/+', 'devices/a/#', false],
    ['devices/+/x', 'devices/#', false],
    ['devices/+/x', 'devices/+/x', true],
    ['devices/a/x', 'devices/+/x', false],
    ['#', '+/#', true],
    ['+/#', '#', false], // the same topics, but no level may stand for many
    ['#', '$SYS/#', false],
    ['a/#', 'a', true],
    ['a', 'a/#', false],
  ])('%s covers %s: %s', (outer, inner, covers) => {
    expect(filterCovers(outer, inner)).toBe(covers);
  });

  const level = fc.constantFrom('a', 'b', '', '+', '#', '$s');
  const filters = fc
    .array(level, { minLength: 1, maxLength: 4 })
    .map((levels) => levels.join('/'))
    .filter((text) => isTopicFilter(text, limits));
  const names = fc
    .array(fc.constantFrom('a', 'b', '', '$s'), { minLength: 1, maxLength: 5 })
    .map((levels) => levels.join('/'))
    .filter((text) => isTopicName(text, limits));

  it('that covers another matches every topic the other matches', () => {
    fc.assert(
      fc.property(filters, filters, names, (outer, inner, topic) => {
        if (filterCovers(outer, inner) && filterMatches(inner, topic)) expect(filterMatches(outer, topic)).toBe(true);
      }),
      { numRuns: 20_000 },
    );
  });

  it('matches what a regular expression made from the same rules matches', () => {
    const expectedPattern = (filter: string) =>
      new RegExp(
        `^${filter
          .replace(/[$]/g, '\\$')
          .replace(/(^|\/)\+(?=\/|$)/g, '$1[^/]*')
          .replace(/(^|\/)\+(?=\/|$)/g, '$1[^/]*')
          .replace(/\/#$/, '(/.*)?')
          .replace(/^#$/, '.*')}$`,
        's',
      );
    fc.assert(
      fc.property(filters, names, (filter, topic) => {
        const expected = expectedPattern(filter).test(topic) && filter.startsWith('$') === topic.startsWith('$');
        expect(filterMatches(filter, topic)).toBe(expected);
      }),
      { numRuns: 20_000 },
    );
  });
});

describe('a shared subscription', () => {
  it.each([
    ['$share/g/a', 'g', 'a'],
    ['$share/back end/devices/+/telemetry/#', 'back end', 'devices/+/telemetry/#'],
    ['$share/g//a', 'g', '/a'],
    ['$share/g//', 'g', '/'],
    ['$share/$share/a', '$share', 'a'],
    ['$share/g/$fleet/events/#', 'g', '$fleet/events/#'],
    ['$share/g/$share', 'g', '$share'],
  ])('%s has the group %s and the filter %s', (text, group, filter) => {
    expect(parseShare(text)).toEqual({ group, filter });
    expect(isShared(text)).toBe(true);
  });

  it.each([
    '$share/',
    '$share//',
    '$share//a',
    '$share/g',
    '$share/g/',
    '$share/g+/a',
    '$share/+/a',
    '$share/#',
    '$share/g#/a',
    '$share/g/$share/h/a',
  ])('is malformed as %s', (text) => {
    expect(parseShare(text)).toBeUndefined();
    expect(isShared(text)).toBe(true);
  });

  it.each(['$share', '$shared/g/a', 'share/g/a', '/$share/g/a', '$SHARE/g/a', '', '#'])(
    'is not asked for by %s',
    (text) => {
      expect(parseShare(text)).toBeUndefined();
      expect(isShared(text)).toBe(false);
    },
  );
});
