import type { Actor } from '../registry/index.ts';

export const NODE_STATES = [
  'serving',
  'draining',
  'drained', // a process that accepts no connection until it is undrained or starts again
  'restarting', // a thread that ended
  'stopped', // a thread that was drained, and is down until it is undrained or the server restarts
  'deaf', // a process whose heartbeats are not confirmed
  'gone', // a process that ended, or was deaf for so long that it has closed all connections
  'removed', // it is refused until it joins again
] as const;

/** A node of the broker. Times are milliseconds since the epoch. */
export interface NodeView {
  /** `main` where the server is one node, `w1`, `w2` ... for threads, and the configured one where several servers share a store. */
  readonly name: string;
  /** `process`: a whole server. `thread`: one of several threads of this server. */
  readonly kind: 'process' | 'thread';
  readonly state: (typeof NODE_STATES)[number];
  /** When it got this state. */
  readonly since: number;
  readonly sessions: number;
  /** 0 to 1, of the last second; undefined where it did not answer. */
  readonly eventLoopBusy: number | undefined;
  /** Times that its thread ended by an error since the server started. */
  readonly crashes: number;
  /** Of a server that shares its store with others. */
  readonly server?: NodeServerView;
}

export interface NodeServerView {
  /** The name of its host; undefined for an older release. */
  readonly host: string | undefined;
  readonly roles: readonly string[];
  /** Its release. */
  readonly version: string;
  /** What it writes for other nodes, as a number that grows with releases. */
  readonly protocol: number;
  readonly startedAt: number;
  /** Sessions, and connections that are no session yet. */
  readonly connections: number;
  /** The database's clock minus the one of the node, ms. */
  readonly skewMs: number;
  /** Of a node that is deaf: when it has closed its connections. */
  readonly closedBy: number | undefined;
}

export interface NodeDrainOrder {
  /** Milliseconds. */
  readonly within: number;
  /** 0: no limit. */
  readonly sessionsPerSecond: number;
  /** It serves again afterwards; otherwise it is to be undrained, or its server restarted. */
  readonly restart: boolean;
}

export interface RemovedNode extends NodeView {
  /** What a superuser of the database has to run, because this node may not. */
  readonly databaseSql: readonly string[];
}

/** By which another host joins the fleet, once. */
export interface CreatedNodeToken {
  readonly id: string;
  readonly secret: string;
  readonly expiresAt: number;
  /** Its node may have keys of CAs. */
  readonly withCaKeys: boolean;
}

/** A token by which a host can join now. Times are milliseconds since the epoch. */
export interface NodeTokenView {
  readonly id: string;
  readonly withCaKeys: boolean;
  readonly createdAt: number;
  readonly createdBy: Actor;
  readonly expiresAt: number;
}

/** The threads of this server, or the servers that share its store. */
export interface NodeControl {
  list(): readonly NodeView[] | Promise<readonly NodeView[]>;
  /** What an order leaves out. */
  readonly drainDefaults: NodeDrainOrder;
  /** Throws Problem `node_unknown`, `node_busy` or `node_last` where a drain would be refused. */
  expectDrainable(name: string): void | Promise<void>;
  /**
   * Calls `begun` when the node is being drained. Resolves when it is drained, and serves again where it was asked to. Rejects as
   * `expectDrainable`, and with Problem `unavailable` when the node does not.
   */
  drain(name: string, order: NodeDrainOrder, begun: (node: NodeView) => void): Promise<NodeView>;
  /** Has a drained node serve again. Throws Problem `node_unknown`, or `node_busy` when it is not drained. */
  undrain(name: string): Promise<NodeView>;
  /**
   * Ends a node for good, with its certificate and its role in the database; `force`: also one that is heard. Throws Problem
   * `node_unknown`, `node_heard`, or `node_not_removable` for a thread and for the server that answers.
   */
  remove(name: string, order: { readonly force: boolean; readonly actor: Actor }): Promise<RemovedNode>;
  /** Throws Problem `database_roles_refused`, and `unavailable` on a server to which no node can join. */
  createToken(
    order: { readonly withCaKeys: boolean; readonly ttlSeconds: number },
    actor: Actor,
  ): Promise<CreatedNodeToken>;
  /** Those that can be used now, in the order of their ids; a page after one of them. */
  listTokens(page: { readonly after: string; readonly limit: number }): Promise<readonly NodeTokenView[]>;
  /** Throws Problem `node_token_unknown`. */
  revokeToken(id: string, actor: Actor): Promise<NodeTokenView>;
  /** Throws as `remove`. */
  expectRemovable(name: string, force: boolean): void | Promise<void>;
}
