import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { parseSettings, readSettings } from './settings.ts';

describe("the agent's settings", () => {
  it('need not be there at all', () => {
    expect(parseSettings('', 'device.conf')).toMatchObject({
      state: '/var/lib/rollcall-device',
      tokenFile: '/etc/rollcall-device/token',
      listen: undefined,
      messageKeys: 'automatic',
    });
    expect(parseSettings('# a remark\n\n', 'device.conf')).toEqual(parseSettings('', 'device.conf'));
  });

  it('are read line by line', () => {
    const text = [
      'id = press-7',
      'state=/data/rollcall',
      'listen = [::1]:1883',
      'queue-bytes = 1048576',
      'message-keys = none',
      'socket-mode = 0666',
      'broker = mqtts://broker.example',
      'enroll = https://enroll.example:8443',
    ].join('\n');
    expect(parseSettings(text, 'device.conf')).toMatchObject({
      id: 'press-7',
      state: '/data/rollcall',
      listen: { host: '::1', port: 1883 },
      queueBytes: 1_048_576,
      messageKeys: 'none',
      socketMode: 0o666,
      broker: 'mqtts://broker.example:8883',
      enroll: 'https://enroll.example:8443',
    });
  });

  it.each([
    ['a misspelt name', 'tokn-file = /x', 'line 1: expected one of state, token-file,'],
    ['a line without a value', '\nstate', 'line 2: expected name = value'],
    ['a name twice', 'id = a\nid = b', 'line 2: expected id once'],
    ['a name that every object has', 'constructor = x', 'line 1: expected one of'],
    ['a relative path', 'state = data', 'state: expected an absolute path'],
    ['a socket path that the kernel would cut', `socket = /${'s'.repeat(107)}`, 'expected a path of at most 107 bytes'],
    ['a listener for the whole network', 'listen = 0.0.0.0:1883', 'this machine and no other'],
    ['a port that is none', 'listen = 127.0.0.1:70000', 'expected 127.0.0.1:PORT'],
    ['a device id that is none', 'id = a/b', 'expected a device id'],
    ['a broker without TLS', 'broker = mqtt://broker', 'expected mqtts://HOST:PORT'],
    ['a queue of no size', 'queue-bytes = 1', 'expected a whole number from 65536'],
    ['a negative number', 'command-timeout = -1', 'expected a whole number from 1 to 3600'],
    ['keys of another kind', 'message-keys = off', 'expected automatic, none'],
    ['an unknown level', 'log-level = loud', 'expected debug, info, warn, silent'],
    ['a socket that anyone may write, but nobody read', 'socket-mode = 622', 'expected 600, 660 or 666'],
  ])('are refused with %s, saying where and what was expected', (_, text, complaint) => {
    expect(() => parseSettings(text, 'device.conf')).toThrow(complaint);
    expect(() => parseSettings(text, 'device.conf')).toThrow('device.conf, line');
  });

  it('are read from a file that is named, which then must be there, and not be something else', () => {
    const directory = temporaryDirectory();
    expect(() => readSettings(join(directory, 'none.conf'))).toThrow('could not be read: ENOENT');
    const file = join(directory, 'long.conf');
    writeFileSync(file, '#'.repeat(70_000));
    expect(() => readSettings(file)).toThrow('expected at most 65536 bytes');
  });
});
