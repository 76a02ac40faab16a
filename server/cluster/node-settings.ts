/** What the configuration says of this node: whether it shares its store with others, and its name. */

import { hostname } from 'node:os';
import { NODE_NAME, NODE_ROLES, Problem } from '@rollcall/protocol';
import type { Config } from '../config/config.ts';
import { EMBEDDED_STORE } from '../config/store-config.ts';

/** Throws Problem `config_invalid` for a server that is alone and leaves a role to nobody. */
export function isShared({ store, node }: Pick<Config, 'store' | 'node'>): boolean {
  if (store.url !== EMBEDDED_STORE) return true;
  if (node.roles.length === NODE_ROLES.length) return false;
  throw new Problem('config_invalid', {
    reason: 'node.roles: expected all of them with store.url: file:, because no other node has the same store',
  });
}

/** That of the configuration, or the host's. Throws Problem `config_invalid` when neither can be used. */
export function nodeNameOf({ node }: Pick<Config, 'node'>, host: string = hostname()): string {
  const name = node.name === '' ? host.toLowerCase() : node.name;
  if (NODE_NAME.test(name)) return name;
  throw new Problem('config_invalid', {
    reason: 'node.name: expected a name of a-z 0-9 . -, and that of this host is none',
    hint: 'choose one with --node-name NAME',
  });
}
