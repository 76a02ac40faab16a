/** An issuing CA that an external root signs: its certificate signing request, and the import of the signed chain. */

import { Problem } from '@rollcall/protocol';
import type { Actor } from '../../registry/index.ts';
import { readIssuer } from '../x509/certificate-check.ts';
import type { CaName } from './ca-directory.ts';
import type { CaPreparation } from './ca-preparation.ts';
import { caId } from './ca-set.ts';
import { checkImportedChain } from './imported-chain.ts';
import { newIssuer } from './issuer-record.ts';
import { writeIssuingCaCsr } from './issuing-ca-csr.ts';
import type { RotationOptions } from './rotation.ts';

export interface ExternalSigning {
  /** PEM; the same request until its certificate is imported. */
  request(): Promise<string>;
  /** The id of the imported issuing CA. Throws Problem `ca_import_rejected`. */
  importChain(pem: string, actor: Actor): Promise<string>;
}

export function createExternalSigning(options: RotationOptions, preparation: CaPreparation): ExternalSigning {
  const { directory, keys, rootKeys, trustDomain, now, cas } = options;

  /** The names of the keys that requests were written for, by CA id. */
  const requestedKeys = async (): Promise<ReadonlyMap<string, CaName>> => {
    const requested = new Map<string, CaName>();
    for (const name of await directory.names('csr')) {
      const signer = await keys.open(name);
      if (signer !== undefined) requested.set(caId(signer.publicKeySpki), name);
    }
    if (requested.size > 0) return requested;
    throw new Problem('ca_import_rejected', {
      detail: 'expected a request that waits to be signed, found none; see "rollcall ca csr"',
    });
  };

  /** Devices know the active root. While its key is on this machine, it cross-certifies a new external root. */
  const crossCertificates = async (root: Buffer): Promise<readonly Buffer[]> => {
    const active = cas().root;
    const key = await rootKeys.find(active.id);
    return key === undefined ? [] : [await preparation.crossCertify(root, active, key.signer)];
  };

  return {
    request: async () => {
      const { name, signer } = await preparation.newKey('issuing', true);
      const earlier = await directory.readText(name, 'csr');
      if (earlier !== undefined) return earlier;
      const text = await writeIssuingCaCsr(signer, trustDomain);
      await directory.writeText(name, 'csr', text);
      return text;
    },

    importChain: async (text, actor) => {
      const requested = await requestedKeys();
      const chain = checkImportedChain(text, { keyIds: new Set(requested.keys()), now: now() });
      const rootId = caId(readIssuer(chain.root).publicKeySpki);
      const isKnownRoot = cas().roots.some(({ id }) => id === rootId);
      const cross = isKnownRoot ? [] : await crossCertificates(chain.root);
      const issuing = newIssuer('issuing', chain.issuing, rootId, [...chain.intermediates, ...cross]);
      const root = newIssuer('root', chain.root, undefined, cross);
      const name = requested.get(issuing.id) as CaName;
      // An interrupted import of the same chain has written the same certificate.
      const isWritten = (await directory.names('pem')).includes(name);
      if (!isWritten) await directory.writeCertificate(name, chain.issuing, issuing.chain);
      await preparation.record(isKnownRoot ? [issuing] : [root, issuing], actor);
      await directory.removeText(name, 'csr');
      return issuing.id;
    },
  };
}
