/**
 * Accepts TCP connections for one port through several listening sockets. Node's event loop accepts one connection per turn
 * from each (libuv since 1.45). With one socket, connections that arrive while turns are long (certificates are issued, a
 * fleet publishes) wait in the kernel's queue until it is full, and are lost.
 */

import { type AddressInfo, createServer, type ListenOptions, type Server, type Socket } from 'node:net';
import { Problem } from '@rollcall/protocol';

export interface ListeningSocketsOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Connections accepted per turn of the event loop, at most; 1 where ports cannot be shared. */
  readonly perTurn: number;
  /** Another thread of this process listens on the port, and shares it. Refused where ports cannot be shared. */
  readonly isJoining?: boolean | undefined;
  readonly accepted: (socket: Socket) => void;
  /** Accepting failed, for example for want of file descriptors. */
  readonly failed: (error: Error) => void;
}

export interface ListeningSockets {
  readonly port: number;
  /** Stops accepting. Resolves when every accepted connection is closed. */
  close(): Promise<void>;
}

/** Throws Problem `address_in_use`. */
export async function openListeningSockets({
  host,
  port,
  ...options
}: ListeningSocketsOptions): Promise<ListeningSockets> {
  const servers: Server[] = [];
  const open = async (address: ListenOptions): Promise<AddressInfo> => {
    // Without noDelay, CONNACK would wait 40 ms for the TCP acknowledgement of the handshake's last flight.
    const server = createServer({ noDelay: true }, options.accepted);
    await listen(server, address);
    server.on('error', options.failed);
    servers.push(server);
    return server.address() as AddressInfo;
  };
  const close = async (): Promise<void> => {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  };

  const isShared = options.perTurn > 1 && (await canSharePorts(host));
  // A shared port would hide that another server uses it. A port that the system chooses is not in use.
  if (isShared && port !== 0 && options.isJoining !== true) await refuseTaken(host, port);
  const first = await open({ host, port, reusePort: isShared });
  const shared = { host: first.address, port: first.port, reusePort: true };
  try {
    while (isShared && servers.length < options.perTurn) await open(shared);
  } catch (error) {
    await close();
    throw error;
  }
  return { port: first.port, close };
}

/** SO_REUSEPORT with connections spread over all sockets: Linux and some BSDs. */
export async function canSharePorts(host: string): Promise<boolean> {
  const server = createServer();
  try {
    await listen(server, { host, port: 0, reusePort: true });
  } catch (error) {
    if (error instanceof Problem) throw error;
    return false;
  }
  await new Promise((resolve) => server.close(resolve));
  return true;
}

async function refuseTaken(host: string, port: number): Promise<void> {
  const server = createServer();
  await listen(server, { host, port });
  await new Promise((resolve) => server.close(resolve));
}

function listen(server: Server, place: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) => {
      const reason = `${place.host}:${place.port}: ${error.code ?? error.message}`;
      reject(error.code === 'EADDRINUSE' ? new Problem('address_in_use', { reason, cause: error }) : error);
    };
    server.once('error', failed);
    server.listen(place, () => {
      server.removeListener('error', failed);
      resolve();
    });
  });
}
