/** HAProxy in front of nodes, with the configuration of docs/grow-beyond-one-machine.md. Ends with this process. */

import type { ChildProcess } from 'node:child_process';
import { chmodSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { endChild, spawnChild } from '../../cli/demo/child-processes.ts';
import type { NodeProcess } from '../../cli/demo/node-process.ts';
import { freePort } from '../../cli/free-port.ts';
import { clientCommand } from '../fixtures/client-programs.ts';
import { documentedConfig, withReplaced } from '../fixtures/documented-config.ts';

const PAGE = new URL('../../docs/grow-beyond-one-machine.md', import.meta.url);

/** Settings of the nodes behind it. Tokens name the enroll server of a node, which devices here reach without it. */
export const BEHIND_HAPROXY = { mqtt: { proxyProtocol: { from: ['127.0.0.1'] } } };

export class Haproxy {
  readonly mqttPort: number;
  readonly #child: ChildProcess;

  /** For three nodes. */
  static async start(nodes: readonly NodeProcess[], directory: string): Promise<Haproxy> {
    const [mqtt, enroll] = [await freePort(), await freePort()];
    const servers = nodes.flatMap(({ mqttPort, enrollPort, healthPort }, index) => [
      [`10.0.1.${index + 1}:8883 port 8481`, `127.0.0.1:${mqttPort} port ${healthPort}`],
      ...(index === 0 ? [['10.0.1.1:8443 port 8481', `127.0.0.1:${enrollPort} port ${healthPort}`]] : []),
    ]);
    const text = withReplaced(documentedConfig(PAGE, 'Load balancer', 'haproxy'), {
      ...(Object.fromEntries(servers) as Record<string, string>),
      'bind :8883': `bind 127.0.0.1:${mqtt}`,
      'bind :8443': `bind 127.0.0.1:${enroll}`,
    });
    const file = join(directory, 'haproxy.cfg');
    writeFileSync(file, text);
    chmodSync(file, 0o600);
    const log = openSync(join(directory, 'haproxy.log'), 'a');
    const [program = '', ...args] = clientCommand('haproxy');
    const child = spawnChild(program, [...args, '-db', '-f', file], {
      stdio: ['ignore', log, log],
      atParentsDeath: 'SIGTERM',
    });
    return new Haproxy(mqtt, child);
  }

  private constructor(mqttPort: number, child: ChildProcess) {
    this.mqttPort = mqttPort;
    this.#child = child;
  }

  close(): Promise<void> {
    return endChild(this.#child, 'SIGTERM', 5_000);
  }
}
