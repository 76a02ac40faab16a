/** The result of one check of the server. `rollcall-device doctor` has the same form for a device. */
export interface Finding {
  /** One word. */
  readonly check: string;
  /** `skipped`: an earlier check failed, or the check does not apply. */
  readonly outcome: 'ok' | 'warning' | 'failed' | 'skipped';
  /** What was found, in words. */
  readonly found: string;
  /** What to do, unless the outcome is ok. */
  readonly fix?: string | undefined;
}

/** What several nodes found out about themselves. */
export interface FleetExamination {
  /** The same finding of several nodes is there once, with their names in `nodes`. */
  readonly findings: readonly (Finding & { readonly nodes: readonly string[] })[];
  /** Nodes that run and did not answer in time. */
  readonly unanswered: readonly string[];
}

/** What the doctor finds out inside a running server, and what it needs to connect from outside. */
export interface ServerExamination {
  readonly findings: readonly Finding[];
  /** One for each public host: `https://host:port`. */
  readonly enrollUrls: readonly string[];
  /** SHA-256 of the root that devices trust, hexadecimal. */
  readonly rootSha256: string;
}
