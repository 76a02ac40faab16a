/** The port on loopback that the setting `listen` names: how it is opened, and why it cannot be. */

import { createServer, type Server } from 'node:net';
import { DeviceError } from '../device-error.ts';
import type { LoopbackAddress } from './settings.ts';

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there; end that program ("ss -ltnp" names it), or set another port',
  EACCES: "the agent's user may not listen there; set a port of 1024 or more",
  EADDRNOTAVAIL: 'this machine has no such address; set 127.0.0.1',
};

export function addressText({ host, port }: LoopbackAddress): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Rejects with DeviceError `address_in_use` or `internal`, whose reason names the setting, the address and what to do. */
export function listenOnLoopback(server: Server, { host, port }: LoopbackAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const code = error.code === 'EADDRINUSE' ? 'address_in_use' : 'internal';
      const why = REASONS[error.code ?? ''] ?? error.message;
      reject(new DeviceError(code, { reason: `listen = ${addressText({ host, port })}: ${why}`, cause: error }));
    };
    server.once('error', fail);
    server.listen(port, host, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

/** Why the port could not be opened now, or undefined. It is closed again at once. */
export async function findPortFault(address: LoopbackAddress): Promise<DeviceError | undefined> {
  const server = createServer();
  try {
    await listenOnLoopback(server, address);
  } catch (error) {
    return error as DeviceError;
  }
  await new Promise((resolve) => server.close(resolve));
  return undefined;
}
