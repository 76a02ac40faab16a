/** A node of the broker. Times are milliseconds since the epoch. */
export interface NodeView {
  /** `main` where the server is one node, otherwise `w1`, `w2` ... */
  readonly name: string;
  /** `process`: the only node of the server. `thread`: one of several threads of it. */
  readonly kind: 'process' | 'thread';
  readonly state: 'serving' | 'draining' | 'restarting' | 'stopped';
  /** When it got this state. */
  readonly since: number;
  readonly sessions: number;
  /** 0 to 1, of the last second; undefined where it did not answer. */
  readonly eventLoopBusy: number | undefined;
  /** Times that its thread ended by an error since the server started. */
  readonly crashes: number;
}

export interface NodeDrainOrder {
  /** Milliseconds. */
  readonly within: number;
  /** 0: no limit. */
  readonly sessionsPerSecond: number;
  /** It is started again afterwards; otherwise it stays down until the server restarts. */
  readonly restart: boolean;
}

/** The nodes of this server. */
export interface NodeControl {
  list(): readonly NodeView[];
  /** What an order leaves out. */
  readonly drainDefaults: Pick<NodeDrainOrder, 'within' | 'sessionsPerSecond'>;
  /** Throws Problem `node_unknown`, `node_busy` or `node_last` where a drain would be refused. */
  expectDrainable(name: string): void;
  /** Resolves when the node is drained, and serves again where it was asked to. Rejects as `expectDrainable`. */
  drain(name: string, order: NodeDrainOrder): Promise<NodeView>;
}
