/** What a run needs of the server beside its network listeners. Where an access is missing, what needs it is not measured. */

/** The operators' side of a Rollcall server. */
export interface OperatorAccess {
  /** A bootstrap token for so many devices: its public id, and its text. */
  createToken(order: {
    readonly uses: number;
    readonly group: string;
    readonly labels: Readonly<Record<string, string>>;
  }): Promise<{ readonly id: string; readonly text: string }>;
  /** How many uses of these tokens the server has counted. */
  tokenUses(ids: readonly string[]): Promise<number>;
  /** At most 10,000 at once. Resolves when their sessions are gone. */
  revoke(ids: readonly string[]): Promise<void>;
  issueService(name: string, csrPem: string): Promise<{ readonly certificatePem: string; readonly caPem: string }>;
  revokeService(name: string): Promise<void>;
  /** Messages of the journal as NDJSON, oldest first, received since then. */
  exportTelemetry(since: Date): AsyncIterable<Buffer>;
  /** Replaces the issuing CA; undefined where the server can't. */
  readonly rotateIssuing?: () => Promise<void>;
}

/** The server process, where the run may end and start it. */
export interface ServerControl {
  /** Ends it, waits so many milliseconds, starts it again, and resolves when it is ready. */
  restart(how: 'restart' | 'kill', downFor: number): Promise<void>;
  /** Fills the disk under its data for so long. Rejects where it can't. */
  fillDisk(forMs: number): Promise<void>;
}
