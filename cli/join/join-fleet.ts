/** A host joins a fleet: it makes its key and its password, proves the fleet by the token's fingerprint, and gets a certificate and a store. */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { fetchCaCertificates, findPinnedRoot, writeCsr } from '@rollcall/device-sdk/building-blocks';
import {
  type BootstrapToken,
  formatBootstrapToken,
  NODE_PATHS,
  type NodeJoinAnswer,
  type NodeJoinRequest,
  type NodeRole,
  nodeUri,
  Problem,
} from '@rollcall/protocol';
import { createTransferKey, decryptKeys } from '../../enroll/index.ts';
import { askNode } from '../../server/index.ts';
import { createPasswordVerifier } from '../../storage/postgres/index.ts';
import { withProblems } from '../sdk-errors.ts';

export interface JoinOrder {
  readonly token: BootstrapToken;
  /** Origin of the EST server of a node. */
  readonly url: string;
  readonly name: string;
  readonly roles: readonly NodeRole[];
  readonly hosts: readonly string[];
  /** PEM. */
  readonly key: string;
  readonly password: string;
}

export interface JoinedFleet extends NodeJoinAnswer {
  /** Files of `ca/` by name, keys included; empty without the role enroll. */
  readonly authorityFiles: Readonly<Record<string, string>>;
}

/** Throws Problem `server_untrusted`, the one of the answer, or `server_unreachable`. */
export async function joinFleet({ token, url, name, roles, hosts, key, password }: JoinOrder): Promise<JoinedFleet> {
  // 1. The root that the token names; nothing secret is sent before.
  const authorities = await withProblems(() => fetchCaCertificates({ url, root: 'unverified' }));
  const root = findPinnedRoot(authorities, token.rootSha256);
  if (root === undefined) {
    throw new Problem('unavailable', {
      detail: `${url} is no server of the fleet that the token is of: it has another root`,
    });
  }

  // 2. The token goes to a server under that root alone, with nothing of this host that is secret.
  const transfer = createTransferKey();
  const body: NodeJoinRequest = {
    ...{ roles, hosts },
    csr: writeCsr(createPrivateKey(key), { commonName: name }).toString('base64'),
    passwordVerifier: createPasswordVerifier(password),
    transferKey: transfer.publicKey,
  };
  const answer = await askNode<NodeJoinAnswer>({
    ...{ url, path: NODE_PATHS.join, rootsPem: root.toString(), body },
    login: { user: name, password: formatBootstrapToken(token) },
  });

  // 3. The certificate is this node's, and keys are those that were encrypted for it.
  expectOwn(answer, name, key);
  const { authority } = answer;
  const keys = authority?.keys === undefined ? {} : decryptKeys(authority.keys, transfer);
  return { ...answer, authorityFiles: { ...authority?.files, ...keys } };
}

function expectOwn({ certificatePem, trustDomain }: NodeJoinAnswer, name: string, key: string): void {
  const leaf = new X509Certificate(certificatePem);
  const isOwn =
    leaf.checkPrivateKey(createPrivateKey(key)) && leaf.subjectAltName === `URI:${nodeUri(trustDomain, name)}`;
  if (!isOwn) throw new Problem('unavailable', { detail: 'the answer has the certificate of another node' });
}
