/** A whole server: its modules opened, wired, started and stopped. */

export { type AcceptedRestore, acceptRestored } from './cluster/accept-restored.ts';
export { askNode } from './cluster/node-client.ts';
export { type NodeFiles, nodeFilesIn } from './cluster/node-directory.ts';
export { expectStore } from './cluster/store-check.ts';
export { expectDescriptors } from './descriptor-monitor.ts';
export { examineStoppedServer } from './diagnosis/stopped-server-findings.ts';
export { type FleetServer, type FleetServerOptions, startFleetServer } from './server.ts';
