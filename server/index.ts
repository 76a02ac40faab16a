/** A whole server: its modules opened, wired, started and stopped. */

export { expectDescriptors } from './descriptor-watch.ts';
export { type FleetServer, startFleetServer } from './server.ts';
