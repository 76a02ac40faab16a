import { expect, it } from 'vitest';
import { createTransferKey, decryptKeys, encryptKeys } from './key-transfer.ts';

const FILES = { 'issuing.key': 'a key' };

it('keys are read by the key that they were encrypted to alone, and unchanged alone', () => {
  const receiver = createTransferKey();
  const sent = encryptKeys(FILES, receiver.publicKey);
  expect(JSON.stringify(sent)).not.toContain('a key');
  expect(decryptKeys(sent, receiver)).toEqual(FILES);
  const changed = Buffer.from(sent.ciphertext, 'base64');
  changed[0] = (changed[0] ?? 0) ^ 1;
  const refusal = expect.objectContaining({ code: 'request_invalid' });
  expect(() => decryptKeys(sent, createTransferKey())).toThrow(refusal);
  expect(() => decryptKeys({ ...sent, ciphertext: changed.toString('base64') }, receiver)).toThrow(refusal);
});

it('a receiver shows a key on P-256', () => {
  for (const key of ['', 'AAAA']) {
    expect(() => encryptKeys(FILES, key)).toThrow(expect.objectContaining({ code: 'request_invalid' }));
  }
});
