import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseDeviceId } from './identity.ts';
import { isLifecycleType, LIFECYCLE_TYPES, UNKNOWN_NAME } from './lifecycle.ts';
import { filterMatches, isServerTopic, lifecycleTopic } from './topics.ts';

const page = readFileSync(new URL('../docs/events.md', import.meta.url), 'utf8');

describe('the types of events', () => {
  it('stand in docs/events.md, each once and no other', () => {
    const rows = [...page.matchAll(/^\| ((?:`[a-z_.]+`(?:, )?)+) \|/gm)].map(([, cell]) => cell as string);
    const documented = rows.flatMap((cell) => [...cell.matchAll(/`([a-z_.]+)`/g)].map(([, type]) => type as string));
    const types = documented.filter((name) => !name.startsWith('rollcall_'));
    expect(types.sort()).toEqual([...LIFECYCLE_TYPES].sort());
  });

  it('have topics that the server alone writes, with a name in the last level', () => {
    for (const type of LIFECYCLE_TYPES) {
      expect(isLifecycleType(type)).toBe(true);
      const topic = lifecycleTopic(type, 'dev-7');
      expect(topic).toBe(`$fleet/events/${type.replace('.', '/')}/dev-7`);
      expect(isServerTopic(topic)).toBe(true);
      expect(filterMatches('$fleet/events/+/+/dev-7', topic)).toBe(true);
    }
  });

  it('know a name for nobody, which nobody can have', () => {
    expect(lifecycleTopic('presence.connect_failed', undefined)).toBe('$fleet/events/presence/connect_failed/-');
    expect(parseDeviceId(UNKNOWN_NAME)).toBeUndefined();
    expect(() => lifecycleTopic('presence.connected', 'a/b')).toThrow('expected a name');
  });
});
