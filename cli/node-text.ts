/** The name of the one thread that serves MQTT where there are no workers and no other servers. */
const ONLY_NODE = 'main';

/** `on node-2, `; nothing for a server that is the only one. */
export function onNode(name: string | undefined): string {
  return name === undefined || name === ONLY_NODE ? '' : `on ${name}, `;
}
