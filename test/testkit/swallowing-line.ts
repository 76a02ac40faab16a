/** A line that can lose what a server answers, and only that: a TCP proxy on loopback that reads nothing of what it carries. */

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface SwallowingLine {
  /** Of the broker behind it, as its certificate names it. */
  readonly mqttUrl: string;
  /** Whatever the server sends from now on is lost. What devices send still arrives. */
  swallow(): void;
  /** Ends every connection; those that come are carried whole again. */
  cut(): void;
  /** Where connections lead from now on. Without a server they wait for one. */
  leadTo(mqttUrl: string | undefined): void;
  close(): Promise<void>;
}

export async function startSwallowingLine(mqttUrl: string): Promise<SwallowingLine> {
  let target: string | undefined = mqttUrl;
  let isSwallowing = false;
  let waiting: Socket[] = [];
  const open = new Set<Socket>();
  const keep = (socket: Socket) => {
    open.add(socket);
    socket.on('error', () => {}); // `close` follows
    socket.once('close', () => open.delete(socket));
  };
  const carry = (device: Socket) => {
    if (device.destroyed) return;
    if (target === undefined) {
      waiting.push(device);
      return;
    }
    const server = connect(Number(new URL(target).port), '127.0.0.1');
    keep(server);
    device.pipe(server);
    server.on('data', (chunk) => isSwallowing || device.write(chunk));
    server.once('close', () => device.destroy());
    device.once('close', () => server.destroy());
  };
  const cut = () => {
    isSwallowing = false;
    for (const socket of open) socket.destroy();
  };
  const proxy = createServer((device) => {
    keep(device);
    carry(device);
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const { port } = proxy.address() as AddressInfo;
  return {
    mqttUrl: `mqtts://localhost:${port}`,
    swallow: () => {
      isSwallowing = true;
    },
    cut,
    leadTo: (url) => {
      target = url;
      for (const device of waiting.splice(0)) carry(device);
    },
    close: async () => {
      cut();
      waiting = [];
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}
