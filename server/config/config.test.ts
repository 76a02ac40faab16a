import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { DEFAULT_LIMITS } from '../../broker/broker-limits.ts';
import { DEFAULT_ENROLL_LIMITS } from '../../enroll/est/limits.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { loadConfig, settingPaths, variableName } from './config-sources.ts';

const exampleFile = fileURLToPath(new URL('../../rollcall.example.yaml', import.meta.url));
const nothing = { file: undefined, environment: {}, flags: [] };

function fileWith(text: string): string {
  const file = join(temporaryDirectory(), 'rollcall.yaml');
  writeFileSync(file, text);
  return file;
}

describe('rollcall.example.yaml', () => {
  it('contains exactly the defaults', () => {
    expect(loadConfig({ ...nothing, file: exampleFile })).toEqual(loadConfig(nothing));
  });

  it('lists every option', () => {
    const example: unknown = parse(readFileSync(exampleFile, 'utf8'));
    for (const path of settingPaths()) {
      const value = path.reduce((node, key) => (node as Record<string, unknown> | undefined)?.[key], example);
      expect(value, path.join('.')).toBeDefined();
    }
  });
});

describe('the configuration', () => {
  it('has the default limits of the broker and the EST server', () => {
    expect(loadConfig(nothing).enroll.limits).toEqual(DEFAULT_ENROLL_LIMITS);
    expect(loadConfig(nothing).mqtt.limits).toEqual(DEFAULT_LIMITS);
  });

  it('prefers flags to the environment, and the environment to the file', () => {
    const file = fileWith('mqtt: { port: 1 }\nenroll: { port: 1 }\nconsole: { port: 1 }\n');
    const environment = {
      ROLLCALL_ENROLL_PORT: '2',
      ROLLCALL_CONSOLE_PORT: '2',
      ROLLCALL_PUBLIC_HOSTS: 'a.example,10.0.0.1',
      ROLLCALL_HEALTH_LISTEN: 'true',
    };
    const config = loadConfig({
      file,
      environment,
      flags: [
        [['console', 'port'], 3],
        [['data'], undefined],
      ],
    });
    expect([config.mqtt.port, config.enroll.port, config.console.port]).toEqual([1, 2, 3]);
    expect(config.publicHosts).toEqual(['a.example', '10.0.0.1']);
    expect(config.health.listen).toBe(true);
  });

  it('converts public hosts to their canonical form and removes duplicates', () => {
    const file = fileWith(
      'publicHosts: [FLEET.example, "127.1", "::ffff:127.0.0.1", "2001:DB8:0::1", fleet.example]\n',
    );
    expect(loadConfig({ ...nothing, file }).publicHosts).toEqual(['fleet.example', '127.0.0.1', '2001:db8::1']);
  });

  it('reads durations as milliseconds and sizes as bytes', () => {
    const file = fileWith('certificates: { device: 2d }\nmqtt: { limits: { packet: 3KiB } }\n');
    const config = loadConfig({ ...nothing, file });
    expect(config.certificates.device).toBe(172_800_000);
    expect(config.mqtt.limits.packet).toBe(3072);
  });

  it.each([
    ['an unknown key', 'mqtt:\n  prot: 8883\n', ':2: mqtt.prot is not an option'],
    ['an unknown section', 'log: {}\nbrokers: {}\n', ':2: brokers is not an option'],
    ['a number without a unit', 'certificates:\n\n  device: 90\n', ':3: certificates.device'],
    ['a wrong unit', 'certificates:\n  device: 90 days\n', ':2: certificates.device: expected a duration'],
    ['a duration for a size', 'mqtt: { limits: {\n packet: 10s } }\n', ':2: mqtt.limits.packet: expected a size'],
    ['more workers than there may be', 'mqtt:\n  workers: 65\n', ':2: mqtt.workers'],
    ['a port out of range', 'mqtt:\n  port: 70000\n', ':2: mqtt.port'],
    ['a host that is none', 'publicHosts: ["a b"]\n', ':1: publicHosts.0: expected a host name'],
    ['a host that no URL can hold', 'publicHosts: ["fe80::1%eth0"]\n', ':1: publicHosts.0: expected a host name'],
    ['a list for a section', 'mqtt: []\n', ':1: mqtt'],
    ['text that is not YAML', 'mqtt: [\n', ':'],
    ['a list at the top', '- a\n', ':1: expected a mapping'],
    ['an alias without an anchor', 'data: *nowhere\n', ': '],
    ['aliases that grow', `publicHosts: [&a a]\nx: [${'*a,'.repeat(11)}]\n`, ': '],
  ])('refuses %s and names its line', (_, text, message) => {
    const file = fileWith(text);
    expect(() => loadConfig({ ...nothing, file })).toThrow(`${file}${message}`);
  });

  it.each(['encrypted', 'sealed'])('reads the key store %s as encrypted', (home) => {
    const file = fileWith(`certificates: { keys: { home: ${home}, passphraseFile: /etc/passphrase } }\n`);
    expect(loadConfig({ ...nothing, file }).certificates.keys.home).toBe('encrypted');
  });

  it('refuses a variable of the wrong kind and names it', () => {
    const environment = { ROLLCALL_MQTT_PORT: 'mqtt' };
    expect(() => loadConfig({ ...nothing, environment })).toThrow('ROLLCALL_MQTT_PORT: mqtt.port');
  });

  it.each(['@here', 'a: b', '"', '[a', '*a', '%a', '# a'])('reads the text %s of a variable as it is', (text) => {
    expect(loadConfig({ ...nothing, environment: { ROLLCALL_DATA: text } }).data).toBe(text);
  });

  it('reports all errors at once', () => {
    const file = fileWith('a: 1\nb: 2\n');
    expect(() => loadConfig({ ...nothing, file })).toThrow(/:1: a is not an option; .*:2: b is not an option/);
  });

  it('names a file that does not exist', () => {
    expect(() => loadConfig({ ...nothing, file: '/nowhere/rollcall.yaml' })).toThrow('ENOENT');
  });

  it('has a distinct variable for every option', () => {
    const names = settingPaths().map(variableName);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain('ROLLCALL_MQTT_LIMITS_CONNECT_PACKET');
  });
});
