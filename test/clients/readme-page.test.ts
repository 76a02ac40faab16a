/** Runs the transcript of README.md and compares its output with the page. */

import { readFileSync } from 'node:fs';
import { delimiter } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { describeWithClients, succeed } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const page = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const programs = fileURLToPath(new URL('../../bin', import.meta.url));

/** The block after "rollcall serve", which a fleet of the test replaces. */
const transcript = [...page.matchAll(/^```console\n(.*?)^```$/gms)].map((match) => match[1] as string)[1] ?? '';

/** Times and durations differ from run to run, and the width of a column with them. */
function withoutTimes(text: string): string {
  return text
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replace(/[\d.]+ ms/g, 'N ms')
    .replace(/^token [0-9a-f]{16}/gm, 'token ID')
    .replace(/[ \t]+/g, ' ')
    .replace(/ $/gm, '')
    .replace(/\n{2,}/g, '\n')
    .trim();
}

describeWithClients('README.md', ['bash', 'mosquitto_pub', 'mosquitto_sub'], () => {
  let fleet: TestFleet;
  beforeAll(async () => {
    fleet = await startFleet();
  });
  afterAll(() => fleet.stop());

  it('shows a transcript that equals the output of the programs', async () => {
    const port = new URL(fleet.mqttUrl).port;
    const commands = [...transcript.matchAll(/^\$ (.*)$/gm)].map((match) => match[1] as string);
    expect(commands.length).toBeGreaterThan(7);
    const connected = 'until [ "$(rollcall events list --type presence.connected | wc -l)" -ge 2 ]; do :; done';
    const script = commands.map((command) => {
      // The output of a background program would be mixed with that of the next command.
      if (command.endsWith('&')) return `${command.slice(0, -1)} >background 2>&1 &\n${connected}`;
      return `{ ${command}; } 2>&1 || true`;
    });
    const { stdout } = await succeed('bash', ['-c', `umask 077\n${script.join('\n').replaceAll('8883', port)}\nwait`], {
      directory: temporaryDirectory(),
      environment: { ROLLCALL_DATA: fleet.data, PATH: `${programs}${delimiter}${process.env.PATH}` },
    });
    const printed = transcript.replace(/^\$ .*\n/gm, '');
    const text = stdout.replaceAll(port, '8883').replaceAll(new URL(fleet.enrollUrl).port, '8443');
    expect(withoutTimes(text)).toBe(withoutTimes(printed));
  }, 180_000);
});
