import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { dataDirectoryAt } from '../data-directory.ts';
import { keyFilesFinding } from './machine-findings.ts';

const SECRETS = ['ca/issuing.key', 'operator.key', 'metrics.key', 'node/identity.pem', 'node/database-password'];

it.each([...SECRETS, 'node/broker.pem', 'node/console.pem'])('a secret in %s that others can read is found', (name) => {
  const data = dataDirectoryAt(temporaryDirectory());
  for (const folder of ['ca', 'node']) mkdirSync(join(data.path, folder));
  for (const file of SECRETS) writeFileSync(join(data.path, file), 'a secret', { mode: 0o600 });
  expect(keyFilesFinding(data)).toMatchObject({ outcome: 'ok', found: '5 files, for their owner only' });
  writeFileSync(join(data.path, `${name}.new`), 'a secret', { mode: 0o640 });
  renameSync(join(data.path, `${name}.new`), join(data.path, name));
  expect(keyFilesFinding(data)).toMatchObject({
    outcome: 'failed',
    found: expect.stringContaining(join(data.path, name)),
  });
});
