/** The operators' unix socket: only its owner can connect, from the moment it exists. Knows nothing of HTTP. */

import { lstat, unlink } from 'node:fs/promises';
import { connect, type Server } from 'node:net';
import { Problem } from '@rollcall/protocol';

/**
 * Listens on `path` with mode 0600. A socket left behind by a dead server is replaced; a live one is Problem
 * `data_directory_busy`; anything else at the path is left alone and is Problem `data_directory_unusable`.
 */
export async function listenOnUnixSocket(server: Server, path: string): Promise<void> {
  await removeStaleSocket(path);
  await new Promise<void>((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => reject(asStartProblem(error, path));
    server.once('error', fail);
    // listen() creates the socket file before it returns, so no other code runs under this umask.
    const before = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', fail);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
  const mode = (await lstat(path)).mode & 0o777;
  if ((mode & 0o177) === 0) return;
  server.close();
  throw new Problem('data_directory_unusable', {
    reason: `expected mode 600 on operator socket ${path}, found ${mode.toString(8)}`,
    hint: 'use a data directory on a file system with permissions',
  });
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new Problem('data_directory_unusable', { reason: `expected a socket or nothing at ${path}, found a file` });
  }
  if (await isLive(path)) throw new Problem('data_directory_busy', { reason: `a server answers on ${path}` });
  await unlink(path).catch(() => {});
}

/** Only a refused connection proves that no server listens; any other failure may come from a busy server. */
function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

function asStartProblem(error: NodeJS.ErrnoException, path: string): Problem {
  if (error.code === 'EADDRINUSE')
    return new Problem('data_directory_busy', { reason: `a server took ${path} just now` });
  return new Problem('data_directory_unusable', {
    reason: `operator socket ${path}: ${error.message}`,
    hint: 'a socket path must be writable, and at most about 100 characters long',
  });
}
