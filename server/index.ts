/** A whole server: its modules opened, wired, started and stopped. */

export { expectDescriptors } from './descriptor-monitor.ts';
export { examineStoppedServer } from './diagnosis/stopped-server-findings.ts';
export { type FleetServer, startFleetServer } from './server.ts';
