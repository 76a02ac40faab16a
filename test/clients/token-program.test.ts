/** CA keys in a PKCS#11 token (SoftHSM) with the real program under plain Node: start, issuance, rotation, restart, PINs. */

import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { SOFTHSM_MODULE } from '../fixtures/client-programs.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { softToken, TOKEN_LABEL } from '../fixtures/soft-token.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

function fleet(pinFile?: string) {
  const directory = temporaryDirectory();
  const token = softToken(directory);
  const config = join(directory, 'rollcall.yaml');
  const pkcs11 = { module: SOFTHSM_MODULE, token: TOKEN_LABEL, pinFile: pinFile ?? token.pinFile };
  writeFileSync(config, JSON.stringify({ certificates: { keys: { home: 'pkcs11', pkcs11 } } }));
  const data = join(directory, 'data');
  const start = (environment = {}) =>
    serve(data, ['--config', config], { environment: { ...token.environment, ...environment } });
  return { directory, token, data, start, refusedPinFile: join(data, 'ca', 'refused-pin.json') };
}

async function enrolls(data: string): Promise<void> {
  const { stdout: token } = await rollcall(['token', 'create', '--data', data]);
  const out = join(temporaryDirectory(), 'identity');
  expect(await rollcall(['device', 'enroll', '--token', '-', '--out', out], { stdin: token })).toMatchObject({
    code: 0,
    stderr: '',
  });
}

describeWithClients('rollcall serve with its CA keys in a token', ['softhsm2-util', 'pkcs11-addon'], () => {
  it('starts, issues, rotates and restarts, and no key is ever in a file', async () => {
    const { data, start } = fleet();
    const first = await start();
    await enrolls(data);
    const prepared = await rollcall(['ca', 'rotate', 'prepare', '--data', data, '--json']);
    expect([prepared.code, prepared.stderr]).toEqual([0, '']);
    const { id } = JSON.parse(prepared.stdout) as { readonly id: string };
    const active = await rollcall(['ca', 'rotate', 'activate', id, '--data', data]);
    expect([active.code, active.stderr]).toEqual([0, '']);
    await enrolls(data);
    await first.end('SIGTERM');
    const second = await start();
    await enrolls(data);
    await second.end('SIGTERM');
    expect(readdirSync(join(data, 'ca')).filter((name) => name.endsWith('.key'))).toEqual([]);
  });

  it('tries a refused PIN only once, over any number of restarts, until the PIN file contains another one', async () => {
    const { token, start, refusedPinFile } = fleet();
    token.writePin('4321');
    await expect(start()).rejects.toThrow('PIN_INCORRECT');
    const text = readFileSync(refusedPinFile, 'utf8');
    expect(text).not.toContain('4321');
    for (let restart = 0; restart < 3; restart += 1) await expect(start()).rejects.toThrow('not tried again');
    expect(readFileSync(refusedPinFile, 'utf8')).toBe(text);
    token.writePin('1234');
    const server = await start();
    expect(existsSync(refusedPinFile)).toBe(false);
    await server.end('SIGTERM');
  });

  it('tries a refused PIN again when an operator removes the file that records it', async () => {
    const { token, start, refusedPinFile } = fleet();
    token.writePin('4321');
    await expect(start()).rejects.toThrow('PIN_INCORRECT');
    await expect(start()).rejects.toThrow(`remove ${refusedPinFile}`);
    renameSync(refusedPinFile, `${refusedPinFile}-away`);
    await expect(start()).rejects.toThrow('PIN_INCORRECT');
  });

  it('tries a PIN that one token refused with another token', async () => {
    const { token, start, directory } = fleet();
    token.writePin('4321');
    await expect(start()).rejects.toThrow('PIN_INCORRECT');
    renameSync(token.tokens, `${token.tokens}-old`);
    renameSync(join(directory, 'softhsm2.conf'), join(directory, 'softhsm2.old'));
    const other = softToken(directory);
    other.writePin('4321');
    await expect(start()).rejects.toThrow('PIN_INCORRECT');
  });

  it('does not start with a damaged file of the refused PIN, and names it', async () => {
    const { token, start, refusedPinFile } = fleet();
    token.writePin('4321');
    await expect(start()).rejects.toThrow('PIN_INCORRECT');
    writeFileSync(refusedPinFile, '{}');
    await expect(start()).rejects.toThrow(`remove ${refusedPinFile}`);
  });

  it.each([0o640, 0o604, 0o660])('does not start with a PIN file of mode %o', async (mode) => {
    const { token, start } = fleet();
    chmodSync(token.pinFile, mode);
    await expect(start()).rejects.toThrow(`found mode ${mode.toString(8)}`);
  });

  it('starts with a PIN file of mode 0440 below the credentials directory of systemd, and with none elsewhere', async () => {
    const credentials = join(temporaryDirectory(), 'credentials');
    mkdirSync(credentials, { mode: 0o700 });
    const pinFile = join(credentials, 'pin');
    writeFileSync(pinFile, '1234\n');
    chmodSync(pinFile, 0o440);
    const { start } = fleet(pinFile);
    await expect(start()).rejects.toThrow('found mode 440');
    await expect(start({ CREDENTIALS_DIRECTORY: temporaryDirectory() })).rejects.toThrow('found mode 440');
    await (await start({ CREDENTIALS_DIRECTORY: credentials })).end('SIGTERM');
    chmodSync(pinFile, 0o444);
    await expect(start({ CREDENTIALS_DIRECTORY: credentials })).rejects.toThrow('found mode 444');
  });
});
