/**
 * One device of the bench, in a process of its own, on any Node: the SDK's bundle or bare mqtt. Prints one line of JSON.
 *
 *     node client.cjs ORDER        ORDER is JSON: { kind, bundle, dataDir, url, messages, warmUp, messageKeys }
 */

const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const order = JSON.parse(process.argv[2]);
/** 120 bytes that begin with the message's number, seven digits. */
const payload = (number) => String(number).padStart(7, '0').padEnd(120, '.');
const GROUP = 500;
/** Milliseconds since the process began, without loading what `performance` needs: memory is measured here as well. */
const now = () => process.uptime() * 1_000;

async function publishAll(from, count, publish) {
  for (let sent = 0; sent < count; sent += GROUP) {
    const group = Math.min(GROUP, count - sent);
    await Promise.all(Array.from({ length: group }, (_, index) => publish(payload(from + sent + index))));
  }
}

async function measured(publish, settled) {
  await publishAll(0, order.warmUp, publish);
  await settled();
  const [cpu, began] = [process.cpuUsage(), now()];
  await publishAll(order.warmUp, order.messages, publish);
  await settled();
  const { user, system } = process.cpuUsage(cpu);
  return { cpu: (user + system) / order.messages, perSecond: (order.messages / (now() - began)) * 1000 };
}

const open = (options) => {
  const { Device } = require(order.bundle);
  return Device.open({
    dataDir: order.dataDir,
    mqttUrl: order.url,
    renewal: 'manual',
    mqttVersion: '3.1.1',
    ...options,
  });
};

const KINDS = {
  async sdk() {
    const device = await open({ queue: { replayRate: 0 }, messageKeys: order.messageKeys });
    await device.connected();
    const report = await measured(
      (text) => device.publish('readings', text),
      () => device.drained(),
    );
    await device.close();
    return report;
  },

  async mqtt() {
    const { connectAsync } = require('mqtt');
    const at = (name) => readFileSync(join(order.dataDir, name));
    const { deviceId } = JSON.parse(at('device.json'));
    const client = await connectAsync(order.url, {
      ...{ key: at('key.pem'), cert: at('cert.pem'), ca: at('ca.pem'), clientId: deviceId, clean: false },
    });
    const topic = `devices/${deviceId}/telemetry/readings`;
    const report = await measured(
      (text) => client.publishAsync(topic, text, { qos: 1 }),
      async () => {},
    );
    await client.endAsync();
    return report;
  },

  async fill() {
    const device = await open({ mqttUrl: 'mqtts://127.0.0.1:1', queue: { bytes: 256 * 1024 * 1024 } });
    await publishAll(0, order.messages, (text) => device.publish('readings', text));
    await device.close();
    return {};
  },

  async drain() {
    const began = now();
    const device = await open({ queue: { bytes: 256 * 1024 * 1024, replayRate: 0 } });
    const waiting = device.queue.messages;
    await device.drained();
    const perSecond = (waiting / (now() - began)) * 1000;
    await device.close();
    return { waiting, perSecond };
  },

  /** From the start of the process to the first acknowledgement, and what it holds when it has nothing to do. */
  async idle() {
    const device = await open({});
    await (await device.publish('readings', payload(0))).acknowledged;
    const start = now();
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const resident = Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1'))[1]) / 1024;
    await device.close();
    return { start, resident };
  },
};

KINDS[order.kind]().then((report) => process.stdout.write(`${JSON.stringify(report)}\n`));
