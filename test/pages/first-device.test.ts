/** Follows docs/first-device.md: its commands in a terminal, its clicks in a browser. */

import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { startBrowser } from '../fixtures/browser.ts';
import { inTerminal } from '../fixtures/pseudo-terminal.ts';
import { describeWithClients, succeed } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const CHECKOUT = fileURLToPath(new URL('../../', import.meta.url));
const page = readFileSync(join(CHECKOUT, 'docs/first-device.md'), 'utf8');

/** Fenced blocks of a section, in their order. */
function blocks(heading: string, kind: 'sh' | 'text'): readonly string[] {
  const section = page.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? '';
  return [...section.matchAll(new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\``, 'gms'))].map(([, text = '']) => text);
}

/** The words in bold of a section: what is clicked or filled in. */
function boldOf(heading: string): readonly string[] {
  const section = page.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? '';
  return [...section.matchAll(/\*\*(.+?)\*\*/g)].map(([, text = '']) => text);
}

/** Ports are others here, because further servers run at the same time. */
function expectPrinted(printed: string, expected: string): void {
  const pattern = expected
    .trim()
    .replace(/[.*+?^${}()|[\]\\#]/g, '\\$&')
    .replaceAll('…', '[\\s\\S]*?')
    .replace(/localhost:\d+|127\\\.0\\\.0\\\.1:\d+/g, '(?:localhost|127\\.0\\.0\\.1):\\d+')
    .replaceAll('\n', '\\r?\\n');
  expect(printed).toMatch(new RegExp(pattern));
}

/** What `npm start` runs, in a directory that has no data yet. */
function serverCommand(): readonly string[] {
  const [start = ''] = blocks('Start the server', 'sh');
  expect(start.trim()).toBe('npm start');
  const { scripts } = JSON.parse(readFileSync(join(CHECKOUT, 'package.json'), 'utf8')) as {
    scripts: { start: string };
  };
  const [prepare, serve = ''] = scripts.start.split(' && ');
  expect(prepare).toBe('node bin/ready.js');
  const [node, program = '', ...args] = serve.split(' ');
  expect([node, program]).toEqual(['node', 'bin/rollcall']);
  return [process.execPath, join(CHECKOUT, program), ...args];
}

describeWithClients('docs/first-device.md', ['chromium', 'python3', 'bash', 'mosquitto_pub'], () => {
  it('leads from the start of the server to a device on the page', async () => {
    const directory = temporaryDirectory();
    const ports = { ROLLCALL_ENROLL_PORT: '0', ROLLCALL_MQTT_PORT: '0', ROLLCALL_CONSOLE_PORT: '0' };
    const environment = { ...ports, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE };
    const terminal = inTerminal(['bash', '-c', 'cd "$0" && exec "$@"', directory, ...serverCommand()], {
      environment,
      columns: 200,
    });
    const link = new URL(await terminal.untilPrinted(/https:\/\/localhost:\d+\/set-up#[\w-]{43}/));
    const printed = await terminal.untilPrinted(/^[\s\S]*adds the first operator; for one use within 24 hours/);
    expectPrinted(printed, blocks('Start the server', 'text')[0] as string);

    const browser = await startBrowser({ url: link.origin });
    onTestFinished(() => browser.close());
    const { page: tab, expectSound } = await browser.open('/');
    await tab.goto(link.href);
    const [name = '', password = '', add = '', open = ''] = boldOf('Sign in');
    await tab.getByLabel(name).fill('ada');
    await tab.getByLabel(password, { exact: true }).fill('correct horse battery');
    await tab.getByRole('button', { name: add }).click();
    await tab.getByRole('button', { name: open }).click();

    const [first = '', create = '', copy = ''] = boldOf('Enroll a device');
    await tab.getByRole('heading', { name: first }).waitFor();
    await tab.getByRole('button', { name: create }).click();
    await browser.context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await tab.getByRole('button', { name: copy }).click();
    await tab.getByText('Copied', { exact: true }).waitFor();
    const pasted = await tab.evaluate<string>('navigator.clipboard.readText()');
    const second = join(directory, 'second');
    mkdirSync(second);
    const path = `PATH=${join(CHECKOUT, 'bin')}:$PATH`;
    const enrolled = await succeed('bash', ['-c', `${path}\n${pasted}`], { directory: second });
    expectPrinted(enrolled.stdout, blocks('Enroll a device', 'text')[0] as string);
    const device = /^device (\S+) is enrolled/.exec(enrolled.stdout)?.[1] as string;
    const mqttPort = /mqtts:\/\/localhost:(\d+)/.exec(enrolled.stdout)?.[1] as string;

    const publish = (blocks('See it', 'sh')[0] as string).replace('NAME', device).replace('8883', mqttPort);
    await succeed('bash', ['-c', publish], { directory: second });
    const [devices = ''] = boldOf('See it');
    await tab.getByRole('link', { name: devices, exact: true }).click();
    await tab.getByRole('link', { name: device }).waitFor();
    await expectSound('first-device');
    await tab.getByRole('link', { name: device }).click();
    await tab.getByRole('heading', { name: device }).waitFor();
    terminal.type('\u0003');
    await terminal.ended;
  });
});
