/** The layout of the data directory, and the checks that it can be used before anything is opened in it. */

import { accessSync, constants, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Problem } from '@rollcall/protocol';

export const CONSOLE_SOCKET = 'console.sock';

export interface DataDirectory {
  readonly path: string;
  /** Root and issuing CA with their private keys; 0700. */
  readonly authority: string;
  readonly registryFile: string;
  /** Journal of accepted messages. */
  readonly telemetry: string;
  /** Persistent sessions and retained messages. */
  readonly sessionFile: string;
  /** Journal of fleet events. */
  readonly events: string;
  /** The position of each sink, and its dead letters. */
  readonly sinks: string;
  /** Results of simulations that operators started in the console. */
  readonly simulations: string;
  /** What this node has seen confirmed by the database that it shares with others. */
  readonly confirmedStateFile: string;
  readonly operatorKeyFile: string;
  /** For `/metrics` alone. */
  readonly metricsKeyFile: string;
  readonly socket: string;
  /** Root certificate that clients of this fleet trust, PEM. */
  readonly trustBundle: string;
}

/** The size of `sun_path` in the address of a Unix socket, without the final NUL. */
const SOCKET_PATH_BYTES = process.platform === 'linux' ? 107 : 103;

/** The system would also refuse a longer path, but only after all stores are opened. */
function expectSocketPath(path: string, hint: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= SOCKET_PATH_BYTES) return;
  throw new Problem('data_directory_unusable', {
    reason: `expected at most ${SOCKET_PATH_BYTES} bytes as path of the operator socket, found ${bytes}: ${path}`,
    hint,
  });
}

/** The paths in a directory, which need not exist. */
export function dataDirectoryAt(path: string): DataDirectory {
  const root = resolve(path);
  return {
    path: root,
    authority: join(root, 'ca'),
    registryFile: join(root, 'registry.db'),
    telemetry: join(root, 'telemetry'),
    sessionFile: join(root, 'sessions.db'),
    events: join(root, 'events'),
    sinks: join(root, 'sinks'),
    simulations: join(root, 'simulations'),
    confirmedStateFile: join(root, 'store-confirmed.json'),
    operatorKeyFile: join(root, 'operator.key'),
    metricsKeyFile: join(root, 'metrics.key'),
    socket: join(root, CONSOLE_SOCKET),
    trustBundle: join(root, 'trust-bundle.pem'),
  };
}

/** Creates the directory (0700) if it is missing. Problem `data_directory_unusable` when it can't be used. */
export function openDataDirectory(path: string): DataDirectory {
  const data = dataDirectoryAt(path);
  const { path: root, socket } = data;
  expectSocketPath(socket, 'choose a data directory with a shorter path');
  try {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    accessSync(root, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new Problem('data_directory_unusable', {
      reason: `${root}: ${(error as NodeJS.ErrnoException).code}`,
      hint: 'choose another with --data DIR, or make it writable for this user',
      cause: error,
    });
  }
  return data;
}
