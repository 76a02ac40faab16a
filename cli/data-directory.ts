/** The layout of the data directory, and the checks that it can be used before anything is opened in it. */

import { accessSync, constants, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Problem } from '../contract/problem.ts';
import { CONSOLE_SOCKET } from './command-line.ts';

export interface DataDirectory {
  readonly path: string;
  /** Root and issuing CA with their private keys; 0700. */
  readonly authority: string;
  readonly registryFile: string;
  /** Journal of accepted messages. */
  readonly telemetry: string;
  /** What the broker remembers between connections. */
  readonly sessionFile: string;
  /** Journal of what happened to the fleet. */
  readonly events: string;
  /** How far each sink came, and what its target refused. */
  readonly sinks: string;
  readonly operatorKeyFile: string;
  readonly socket: string;
  /** Root certificate, PEM: what clients need to trust this fleet. */
  readonly trustBundle: string;
}

/** Creates the directory (0700) if it is missing. Problem `data_directory_unusable` when it can't be used. */
export function openDataDirectory(path: string): DataDirectory {
  const root = resolve(path);
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
  return {
    path: root,
    authority: join(root, 'ca'),
    registryFile: join(root, 'registry.db'),
    telemetry: join(root, 'telemetry'),
    sessionFile: join(root, 'sessions.db'),
    events: join(root, 'events'),
    sinks: join(root, 'sinks'),
    operatorKeyFile: join(root, 'operator.key'),
    socket: join(root, CONSOLE_SOCKET),
    trustBundle: join(root, 'trust-bundle.pem'),
  };
}
