/** The private keys of roots on this machine. A root's key may be kept elsewhere once it has signed what is needed. */

import { Problem } from '@rollcall/protocol';
import type { CaDirectory, CaName } from './ca-directory.ts';
import { caId } from './ca-set.ts';
import type { KeyStore } from './key-store.ts';
import type { Signer } from './signer.ts';

export interface RootKey {
  readonly name: CaName;
  readonly signer: Signer;
}

export interface RootKeys {
  /** Undefined when the key is not on this machine. */
  find(id: string): Promise<RootKey | undefined>;
  /** Throws Problem `root_key_absent` when the key is not on this machine. */
  require(id: string): Promise<RootKey>;
  /** Ids of the roots whose keys are on this machine and can be opened. */
  ids(): Promise<readonly string[]>;
}

export function createRootKeys(directory: CaDirectory, keys: KeyStore): RootKeys {
  const names = async (): Promise<readonly CaName[]> =>
    [...(await directory.names('key')), ...(await directory.names('uri'))].filter((name) => name.startsWith('root'));

  const find = async (id: string): Promise<RootKey | undefined> => {
    for (const name of await names()) {
      const signer = await keys.open(name);
      if (signer !== undefined && caId(signer.publicKeySpki) === id) return { name, signer };
    }
    return undefined;
  };

  return {
    find,
    require: async (id) => {
      const found = await find(id);
      if (found !== undefined) return found;
      throw new Problem('root_key_absent', {
        detail: `the key of root ${id} is not on this machine`,
        hint: 'rollcall ca csr > issuing.csr; sign it where the key is with "rollcall ca sign"; then rollcall ca import',
      });
    },
    ids: async () => {
      const ids: string[] = [];
      for (const name of await names()) {
        const signer = await keys.open(name).catch(() => undefined);
        if (signer !== undefined) ids.push(caId(signer.publicKeySpki));
      }
      return ids;
    },
  };
}
