/** What a policy means, as a table: subject, verb, topic, answer. */

import {
  DEFAULT_DEVICE_POLICY,
  DEFAULT_SERVICE_POLICY,
  type GroupName,
  isTopicFilter,
  type PolicyDocument,
  Problem,
} from '@rollcall/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { device, service } from '../../test/fixtures/broker/test-broker.ts';
import { DENY_ALL, type PolicyVerb, Rights, type Subject } from './acl.ts';
import { checkPolicy } from './policy-faults.ts';

const limits = { maxBytes: 256, maxLevels: 16 };
const dev7: Subject = { identity: device('dev-7'), group: 'press' as GroupName, labels: { site: 'north', bad: 'a/#' } };
const dashboard: Subject = { identity: service('dashboard'), group: 'default' as GroupName, labels: {} };

const may = (policy: PolicyDocument, subject: Subject, verb: PolicyVerb, topic: string) =>
  new Rights(policy, subject, limits).may(verb, topic);

describe('the built-in policy of a device', () => {
  it.each<[PolicyVerb, string, boolean]>([
    ['connect', 'dev-7', true],
    ['connect', 'dev-8', false],
    ['publish', 'devices/dev-7/telemetry/temp', true],
    ['publish', 'devices/dev-7/events/door', true],
    ['publish', 'devices/dev-7/responses/r1', true],
    ['publish', 'devices/dev-7/twin/reported', true],
    ['publish', 'devices/dev-7/twin/desired', false],
    ['publish', 'devices/dev-7/telemetry', false],
    ['publish', 'devices/dev-7/telemetry/a/key', true],
    ['publish', 'devices/dev-7/telemetry/a/', false],
    ['publish', 'devices/dev-7/telemetry/a/a key', false],
    ['publish', 'devices/dev-7/telemetry/a/b/c', false],
    ['publish', 'devices/dev-7/telemetry//key', false],
    ['publish', 'devices/dev-7/telemetry/a stream/key', false],
    ['retain', 'devices/dev-7/telemetry/a stream/key', false],
    ['publish', 'devices/dev-8/telemetry/a/key', false],
    ['retain', 'devices/dev-7/telemetry/a/key', false],
    ['receive', 'devices/dev-7/telemetry/a/key', false],
    ['publish', 'devices/dev-7/commands/reboot/1', false],
    ['publish', 'devices/dev-8/telemetry/temp', false],
    ['publish', 'devices/dev-77/telemetry/temp', false],
    ['publish', 'devices/dev-7/../dev-8/telemetry/temp', false],
    ['publish', 'devices/DEV-7/telemetry/temp', false],
    ['publish', '/devices/dev-7/telemetry/temp', false],
    ['publish', 'devices//telemetry/temp', false],
    ['publish', 'devices/+/telemetry/temp', false],
    ['publish', 'devices/dev-7/telemetry/#', false],
    ['publish', 'devices/dev-7/telemetry/\0', false],
    ['publish', '', false],
    ['publish', '$SYS/broker/new/clients', false],
    ['publish', '$fleet/events/x', false],
    ['publish', 'devices/dev-7/server/renewal', false],
    ['publish', '$share/g/devices/dev-7/telemetry/temp', false],
    ['publish', '$devices/dev-7/telemetry/temp', false],
    ['retain', 'devices/dev-7/twin/reported', true],
    ['retain', 'devices/dev-7/telemetry/temp', false],
    ['subscribe', 'devices/dev-7/commands/+/+', true],
    ['subscribe', 'devices/dev-7/commands/reboot/+', true],
    ['subscribe', 'devices/dev-7/commands/reboot/1', true],
    ['subscribe', 'devices/dev-7/twin/desired', true],
    ['subscribe', 'groups/press/broadcast/+', true],
    ['subscribe', 'groups/press/broadcast/stop', true],
    ['subscribe', 'groups/other/broadcast/stop', false],
    ['subscribe', 'groups/+/broadcast/stop', false],
    ['subscribe', 'devices/dev-7/commands/#', true],
    ['subscribe', 'devices/dev-7/commands/+/+/+', true],
    ['subscribe', 'devices/+/commands/#', false],
    ['subscribe', 'devices/dev-8/commands/#', false],
    ['receive', 'devices/dev-7/commands/a/b/c', false],
    ['subscribe', 'devices/dev-7/commands/+', true],
    ['subscribe', 'devices/dev-7/+/+/+', false],
    ['subscribe', 'devices/+/commands/+/+', false],
    ['subscribe', '+/dev-7/commands/+/+', false],
    ['subscribe', 'devices/dev-7/telemetry/+', false],
    ['subscribe', '#', false],
    ['subscribe', '+/#', false],
    ['subscribe', '/#', false],
    ['subscribe', '$SYS/#', false],
    ['subscribe', '$SYS/+/new/clients', false],
    ['subscribe', '$share/g/devices/dev-7/commands/+/+', true],
    ['subscribe', '$share/g/devices/+/commands/+/+', false],
    ['subscribe', '$share/g/devices/dev-8/commands/+/+', false],
    ['subscribe', '$share/g/$fleet/events/#', false],
    ['subscribe', '$share/g/$share/g/devices/dev-7/commands/+/+', false],
    ['subscribe', '$share//devices/dev-7/commands/+/+', false],
    ['subscribe', '$share/+/devices/dev-7/commands/+/+', false],
    ['subscribe', '$share/devices/dev-7/commands/+/+', false],
    ['receive', '$share/g/devices/dev-7/commands/reboot/1', false],
    ['subscribe', '$queue/devices/dev-7/commands/+/+', false],
    ['subscribe', '$fleet/events/#', false],
    ['subscribe', '$fleet/trust-bundle', true],
    ['subscribe', 'devices/dev-7/server/+', true],
    ['subscribe', 'devices/dev-8/server/+', false],
    ['receive', 'devices/dev-7/commands/reboot/1', true],
    ['receive', 'devices/dev-7/twin/desired', true],
    ['receive', 'groups/press/broadcast/stop', true],
    ['receive', 'devices/dev-8/commands/reboot/1', false],
    ['receive', 'devices/dev-7/telemetry/temp', false],
    ['receive', '$SYS/x', false],
    ['receive', '$fleet/events/x', false],
    ['receive', '$fleet/trust-bundle', true],
  ])('%s %j: %s', (verb, topic, allowed) => {
    expect(may(DEFAULT_DEVICE_POLICY, dev7, verb, topic).allowed).toBe(allowed);
  });
});

describe('the built-in policy of a service', () => {
  it.each<[PolicyVerb, string, boolean]>([
    ['connect', 'dashboard', true],
    ['connect', 'dashboard-2', true],
    ['connect', 'dashboard2', false],
    ['connect', 'dev-7', false],
    ['subscribe', 'devices/+/telemetry/+', true],
    ['subscribe', 'devices/dev-7/telemetry/+', true],
    ['subscribe', 'devices/+/telemetry/temp', true],
    ['subscribe', 'devices/+/events/+', true],
    ['subscribe', '$fleet/events/#', true],
    ['subscribe', '$fleet/events/presence/+/dev-7', true],
    ['subscribe', '$share/g/devices/+/telemetry/+', true],
    ['subscribe', '$share/other/devices/dev-7/telemetry/+', true],
    ['subscribe', '$share/g/$fleet/events/#', true],
    ['subscribe', '$share/g/devices/#', false],
    ['subscribe', '$share/g/#', false],
    ['subscribe', '$share/g/$SYS/#', false],
    ['subscribe', '$share/g', false],
    ['subscribe', '$queue/devices/+/telemetry/+', false],
    ['subscribe', '$fleet/#', false],
    ['subscribe', '$fleet/+', false],
    ['subscribe', '$SYS/#', false],
    ['subscribe', 'devices/#', false],
    ['subscribe', 'devices/+/+/+', false],
    ['subscribe', '#', false],
    ['subscribe', 'devices/+/commands/+/+', false],
    ['receive', 'devices/dev-7/telemetry/temp', true],
    ['receive', '$fleet/events/presence/disconnected/dev-7', true],
    ['receive', 'devices/dev-7/commands/reboot/1', false],
    ['publish', 'devices/dev-7/commands/reboot/1', true],
    ['publish', 'devices/dev-7/twin/desired', true],
    ['publish', 'groups/press/broadcast/stop', true],
    ['publish', 'devices/dev-7/telemetry/temp', false],
    ['publish', '$fleet/events/presence/disconnected/dev-7', false],
    ['retain', 'devices/dev-7/twin/desired', true],
    ['retain', 'devices/dev-7/commands/reboot/1', false],
  ])('%s %j: %s', (verb, topic, allowed) => {
    expect(may(DEFAULT_SERVICE_POLICY, dashboard, verb, topic).allowed).toBe(allowed);
  });
});

describe('a policy', () => {
  const everything: PolicyDocument = {
    connect: ['*'],
    publish: ['#'],
    subscribe: ['#'],
    receive: ['#'],
    retain: ['#'],
  };

  it('without rules allows nothing', () => {
    for (const verb of ['connect', 'publish', 'subscribe', 'receive', 'retain'] as const) {
      expect(may(DENY_ALL, dev7, verb, verb === 'connect' ? 'dev-7' : 'a')).toEqual({
        allowed: false,
        reason: 'no_rule',
      });
    }
  });

  it('cannot give another client id, nor what starts with $', () => {
    expect(may(everything, dev7, 'connect', 'dev-8')).toEqual({ allowed: false, reason: 'client_id_not_own' });
    expect(may(everything, dev7, 'connect', 'dev-7').allowed).toBe(true);
    for (const subject of [dev7, dashboard]) {
      for (const topic of ['$SYS/a', '$share/g', '$queue/a', '$x', '$fleet/events/a']) {
        expect(may(everything, subject, 'publish', topic)).toEqual({ allowed: false, reason: 'topic_reserved' });
        expect(may(everything, subject, 'subscribe', topic).allowed).toBe(false);
        expect(may(everything, subject, 'receive', topic).allowed).toBe(false);
      }
    }
    for (const topic of ['$fleet/trust-bundle', 'devices/dev-7/server/renewal', 'devices/dev-8/server/x/y']) {
      expect(may(everything, dev7, 'publish', topic)).toEqual({ allowed: false, reason: 'topic_reserved' });
    }
    expect(may(everything, dev7, 'publish', 'any/topic').allowed).toBe(true);
    expect(may(everything, dev7, 'subscribe', '#').allowed).toBe(true);
    expect(may(everything, dev7, 'publish', '$share/g/a')).toEqual({ allowed: false, reason: 'topic_reserved' });
    expect(may(everything, dev7, 'receive', '$share/g/a')).toEqual({ allowed: false, reason: 'topic_reserved' });
    expect(may(everything, dev7, 'subscribe', '$share/g/a').allowed).toBe(true);
  });

  it('cannot give the events of the fleet to a device', () => {
    const policy = { ...DENY_ALL, subscribe: ['$fleet/events/#'], receive: ['$fleet/events/#'] };
    expect(may(policy, dev7, 'subscribe', '$fleet/events/#').allowed).toBe(false);
    expect(may(policy, dev7, 'receive', '$fleet/events/x').allowed).toBe(false);
    expect(may(policy, dashboard, 'receive', '$fleet/events/x').allowed).toBe(true);
  });

  it('names the template that decides', () => {
    expect(may(DEFAULT_DEVICE_POLICY, dev7, 'publish', 'devices/dev-7/events/door')).toEqual({
      allowed: true,
      rule: 'devices/${device.id}/events/+',
    });
  });

  it('fills in labels, and denies a template whose label has no value', () => {
    const policy = {
      ...DENY_ALL,
      publish: ['sites/${device.labels.site}/+', 'x/${device.labels.none}/#', 'y/${device.labels.bad}'],
    };
    expect(may(policy, dev7, 'publish', 'sites/north/a').allowed).toBe(true);
    expect(may(policy, dev7, 'publish', 'sites/south/a').allowed).toBe(false);
    for (const topic of ['x//a', 'x/undefined/a', 'x/${device.labels.none}/a', 'y/a/b', 'y/a', 'y/']) {
      expect(may(policy, dev7, 'publish', topic).allowed, topic).toBe(false);
    }
  });

  it('takes no value from inherited properties', () => {
    const policy = { ...DENY_ALL, publish: ['x/${device.labels.constructor}/+', 'x/${device.labels.toString}/+'] };
    expect(may(policy, dev7, 'publish', 'x/function Object() { [native code] }/a').allowed).toBe(false);
  });

  it('of a device grants nothing to a service, and the other way round', () => {
    const policy = { ...DENY_ALL, publish: ['a/${device.id}', 'b/${service.name}', 'c/${device.group}'] };
    expect(may(policy, dashboard, 'publish', 'b/dashboard').allowed).toBe(true);
    expect(may(policy, dashboard, 'publish', 'a/dashboard').allowed).toBe(false);
    expect(may(policy, dashboard, 'publish', 'c/default').allowed).toBe(false);
    expect(may(policy, dev7, 'publish', 'b/dev-7').allowed).toBe(false);
    expect(may(policy, dev7, 'publish', 'c/press').allowed).toBe(true);
  });

  it.each(['+', '#', 'a/b', 'a\0', '', '*', '$SYS', 'a\nb'])('never puts the label value %j into a filter', (value) => {
    const subject = { ...dev7, labels: { x: value } };
    const policy = {
      ...DENY_ALL,
      publish: ['${device.labels.x}/a'],
      subscribe: ['${device.labels.x}/#'],
      connect: ['${device.labels.x}'],
    };
    for (const topic of ['+/a', 'q/a', 'a/b/a', '/a', '$SYS/a'])
      expect(may(policy, subject, 'publish', topic).allowed).toBe(false);
    for (const filter of ['#', '+/#', 'a/b/#', '$SYS/#'])
      expect(may(policy, subject, 'subscribe', filter).allowed).toBe(false);
  });

  it('grants a subscription only if every topic that it can match may be received', () => {
    const level = fc.constantFrom('a', 'b', '+', '#', '');
    const filter = fc
      .array(level, { minLength: 1, maxLength: 4 })
      .map((levels) => levels.join('/'))
      .filter((text) => isTopicFilter(text, limits));
    const name = fc
      .array(fc.constantFrom('a', 'b', ''), { minLength: 1, maxLength: 5 })
      .map((levels) => levels.join('/'));
    fc.assert(
      fc.property(filter, filter, name, (grant, asked, topic) => {
        const policy = { ...DENY_ALL, subscribe: [grant], receive: [grant] };
        const askedFor = { ...DENY_ALL, receive: [asked] };
        const granted = may(policy, dev7, 'subscribe', asked).allowed;
        const hears = may(askedFor, dev7, 'receive', topic).allowed;
        if (granted && hears) expect(may(policy, dev7, 'receive', topic).allowed).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it('gives the same decision twice, whatever was decided in between', () => {
    const rights = new Rights(DEFAULT_DEVICE_POLICY, dev7, limits);
    for (const topic of ['devices/dev-7/telemetry/a', 'devices/dev-8/telemetry/a', 'devices/dev-7/telemetry/a']) {
      expect(rights.mayPublish(topic).allowed).toBe(topic.includes('dev-7'));
    }
    for (let i = 0; i < 5_000; i += 1) expect(rights.mayReceive(`devices/dev-7/commands/a/${i}`).allowed).toBe(true);
    expect(rights.mayReceive('devices/dev-8/commands/a/1').allowed).toBe(false);
  });
});

describe('checking a policy', () => {
  const problemOf = (document: unknown) => {
    try {
      checkPolicy(document as PolicyDocument);
    } catch (error) {
      return error as Problem;
    }
    return undefined;
  };

  it('accepts the built-in policies', () => {
    expect(problemOf(DEFAULT_DEVICE_POLICY)).toBeUndefined();
    expect(problemOf(DEFAULT_SERVICE_POLICY)).toBeUndefined();
  });

  it.each<[Partial<Record<PolicyVerb, unknown>>, RegExp]>([
    [{ publish: ['a/${device.name}'] }, /publish entry "a\/\$\{device.name\}": expected a variable/],
    [{ publish: ['a/${device.labels.}'] }, /expected a variable/],
    [{ publish: ['a/${device.labels.a b}'] }, /expected a variable/],
    [{ publish: ['a/${device.id'] }, /expected } after \$\{/],
    [{ publish: ['a/x-${device.id}'] }, /fill a level alone/],
    [{ subscribe: ['a/${device.id}x/b'] }, /fill a level alone/],
    [{ subscribe: ['a/#/b'] }, /expected a topic filter/],
    [{ subscribe: ['a+'] }, /expected a topic filter/],
    [{ subscribe: [''] }, /expected a topic filter/],
    [{ receive: ['a\0'] }, /expected a topic filter/],
    [{ receive: ['x'.repeat(257)] }, /at most 16 levels and 256 bytes/],
    [{ receive: ['/'.repeat(16)] }, /at most 16 levels/],
    [{ publish: ['$fleet/events/x'] }, /written by the server alone/],
    [{ publish: ['devices/${device.id}/server/renewal'] }, /written by the server alone/],
    [{ retain: ['$SYS/x'] }, /written by the server alone/],
    [{ subscribe: ['$SYS/#'] }, /only \$fleet\/events and \$fleet\/trust-bundle can be read/],
    [{ subscribe: ['$share/g/a'] }, /without \$share\/GROUP\/ in front/],
    [{ receive: ['$share/${device.group}/a'] }, /without \$share\/GROUP\/ in front/],
    [{ publish: ['$share/g/a'] }, /without \$share\/GROUP\/ in front/],
    [{ subscribe: ['$queue/a'] }, /only \$fleet\/events and \$fleet\/trust-bundle can be read/],
    [{ receive: ['$fleet/#'] }, /only \$fleet\/events and \$fleet\/trust-bundle can be read/],
    [{ connect: ['a b'] }, /expected a client id/],
    [{ connect: ['a*b'] }, /expected a client id/],
    [{ connect: ['${device.colour}'] }, /expected a variable/],
    [{ publish: 'a' }, /publish: expected a list/],
    [{ publish: undefined }, /publish: expected a list/],
    [{ publish: [7] }, /expected text/],
    [{ publish: Array.from({ length: 101 }, () => 'a') }, /at most 100 entries/],
  ])('names the fault of %j', (part, fault) => {
    const problem = problemOf({ ...DENY_ALL, ...part });
    expect(problem).toBeInstanceOf(Problem);
    expect(problem?.code).toBe('policy_invalid');
    expect(problem?.detail).toMatch(fault);
  });
});
