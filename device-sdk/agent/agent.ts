/**
 * The agent as a whole: one device, its servers for applications on this machine, and the notifications to the service manager.
 * Reads no file but its settings' and prints nothing.
 */

import type { DeviceLog } from '../device-state.ts';
import type { Schedule } from '../schedule.ts';
import { AgentDevice, type AgentStatus } from './agent-device.ts';
import { CommandQueue } from './command-queue.ts';
import { type LocalServer, startHttpServer } from './http-server.ts';
import { startMqttListener } from './mqtt-listener.ts';
import type { ServiceManager } from './service-manager.ts';
import type { AgentSettings } from './settings.ts';

export interface AgentOptions {
  readonly settings: AgentSettings;
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly random: () => number;
  readonly schedule: Schedule;
  readonly log: DeviceLog;
  readonly manager: ServiceManager;
}

export interface Agent {
  /** Of the plain MQTT listener, where there is one. */
  readonly mqttPort: number | undefined;
  status(): Promise<AgentStatus>;
  /** Disconnects, keeps what waits on disk, frees socket and port. Idempotent. */
  close(): Promise<void>;
}

/** Resolves when the servers listen. The device is opened, or enrolled, in the background. */
export async function startAgent(options: AgentOptions): Promise<Agent> {
  const { settings, schedule, log, manager } = options;
  const commandQueue = new CommandQueue({ timeout: settings.commandTimeout * 1_000, schedule });
  const device = new AgentDevice({ ...options, commandQueue });
  const { socket, socketMode, controlSocket } = settings;
  const servers: LocalServer[] = [
    await startHttpServer({ socket, socketMode, isControl: false, device, commandQueue, schedule }),
  ];
  try {
    const owners = { socket: controlSocket, socketMode: 0o600, isControl: true };
    servers.push(await startHttpServer({ ...owners, device, commandQueue, schedule }));
  } catch (error) {
    await Promise.all(servers.map((server) => server.close()));
    throw error;
  }
  let mqttPort: number | undefined;
  if (settings.listen !== undefined) {
    try {
      const server = await startMqttListener({ address: settings.listen, device, commandQueue, log });
      mqttPort = server.port;
      servers.push(server);
    } catch (error) {
      await Promise.all(servers.map((server) => server.close()));
      throw error;
    }
  }
  device.onState((state) => manager.status(state));
  device.start();
  manager.ready();
  let closing: Promise<void> | undefined;
  return {
    mqttPort,
    status: () => device.status(),
    close: () => {
      closing ??= (async () => {
        manager.stopping();
        manager.close();
        commandQueue.close();
        await Promise.all(servers.map((server) => server.close()));
        await device.close();
      })();
      return closing;
    },
  };
}
