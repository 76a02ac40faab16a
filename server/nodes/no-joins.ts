/** Tokens of nodes on a server that shares its store with no other: no host can join it. */

import { Problem } from '@rollcall/protocol';
import type { NodeControl } from '../../console/index.ts';

export const NO_JOINS: Pick<NodeControl, 'createToken' | 'listTokens' | 'revokeToken'> = {
  createToken: async () => {
    throw new Problem('unavailable', {
      detail: 'this server shares its store with no other: store.url names no PostgreSQL',
    });
  },
  listTokens: async () => [],
  revokeToken: async () => {
    throw new Problem('node_token_unknown');
  },
};
