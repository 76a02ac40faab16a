import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DeviceId } from '@rollcall/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fileIdentityStore } from './file-identity-store.ts';
import type { StoredIdentity } from './identity-store.ts';

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'rollcall-store-'));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

function identity(generation: number): StoredIdentity {
  return {
    deviceId: 'dev-7' as DeviceId,
    enrollUrl: 'https://localhost:8443',
    mqttUrl: 'mqtts://localhost:8883',
    keyPem: `key ${generation}`,
    certificatePem: `certificate ${generation}`,
    rootPem: `root ${generation}`,
  };
}

const pending = { keyPem: 'next key', csr: Buffer.from([1, 2, 3]), commonName: 'dev-7' };
const FILES = ['key.pem', 'ca.pem', 'device.json', 'cert.pem'];

describe('the identity store on disk', () => {
  it('starts empty, in a directory that it makes private', async () => {
    const store = fileIdentityStore(join(dataDir, 'a', 'b'));
    expect(await store.load()).toBeUndefined();
    expect(await store.loadPending()).toBeUndefined();
    expect(statSync(join(dataDir, 'a', 'b')).mode & 0o777).toBe(0o700);
  });

  it('gives back what was committed, and forgets the pending request with it', async () => {
    const store = fileIdentityStore(dataDir);
    await store.savePending(pending);
    expect(await store.loadPending()).toEqual(pending);
    await store.commit(identity(1));
    expect(await store.load()).toEqual(identity(1));
    expect(await store.loadPending()).toBeUndefined();
    await store.commit(identity(2));
    expect(await store.load()).toEqual(identity(2));
    expect(readdirSync(dataDir).sort()).toEqual([...FILES].sort());
  });

  it('keeps key and pending request to its owner, whatever the umask and whatever lay there before', async () => {
    const before = process.umask(0);
    try {
      writeFileSync(join(dataDir, 'pending.json.tmp'), 'left over', { mode: 0o666 });
      const store = fileIdentityStore(dataDir);
      await store.savePending(pending);
      expect(statSync(join(dataDir, 'pending.json')).mode & 0o777).toBe(0o600);
      await store.commit(identity(1));
      expect(statSync(join(dataDir, 'key.pem')).mode & 0o777).toBe(0o600);
    } finally {
      process.umask(before);
    }
  });

  it('takes a damaged pending request for none', async () => {
    writeFileSync(join(dataDir, 'pending.json'), '{"key"', { mode: 0o600 });
    expect(await fileIdentityStore(dataDir).loadPending()).toBeUndefined();
  });
});

describe('a crash in the middle of a commit', () => {
  it('before the staged directory has its name leaves the old identity', async () => {
    await fileIdentityStore(dataDir).commit(identity(1));
    mkdirSync(join(dataDir, 'staged.tmp'));
    writeFileSync(join(dataDir, 'staged.tmp', 'key.pem'), 'half a k', { mode: 0o600 });
    const store = fileIdentityStore(dataDir);
    expect(await store.load()).toEqual(identity(1));
    await store.commit(identity(2));
    expect(await store.load()).toEqual(identity(2));
  });

  it.each([0, 1, 2, 3, 4])('after %i files were moved is finished at the next load', async (moved) => {
    const other = join(dataDir, 'other');
    await fileIdentityStore(other).load();
    await fileIdentityStore(other).commit(identity(2));
    await fileIdentityStore(dataDir).commit(identity(1));
    await fileIdentityStore(dataDir).savePending(pending);
    renameSync(other, join(dataDir, 'staged'));
    for (const name of FILES.slice(0, moved)) renameSync(join(dataDir, 'staged', name), join(dataDir, name));
    const store = fileIdentityStore(dataDir);
    expect(await store.load()).toEqual(identity(2));
    expect(await store.loadPending()).toBeUndefined();
    expect(readdirSync(dataDir).sort()).toEqual([...FILES].sort());
  });
});
