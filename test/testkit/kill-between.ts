/**
 * Loaded into a server before it starts (`--import`): the server kills itself when a QoS 2 message of a device has reached one
 * point on its way, named by ROLLCALL_TEST_KILL_AT. `announced`: its identifier is on disk, the journal has not seen it.
 * `journalled`: the journal has committed it, nothing else knows.
 */

import { isMainThread } from 'node:worker_threads';
import { Arrivals } from '../../broker/arrivals.ts';

const point = process.env.ROLLCALL_TEST_KILL_AT;

function kill(): void {
  process.kill(process.pid, 'SIGKILL');
}

if (isMainThread && point === 'announced') {
  const { announce } = Arrivals.prototype;
  Arrivals.prototype.announce = async function killed(...values) {
    const announcement = await announce.apply(this, values);
    kill();
    return announcement;
  };
} else if (isMainThread && point === 'journalled') {
  Arrivals.prototype.arrived = async () => kill();
}
