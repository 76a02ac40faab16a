import { standardError } from '@rollcall/output';
import { Problem } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import type { Logger } from 'pino';
import { type Config, expectPlausibleClock, runtime, version } from '../../server/config/index.ts';
import type { loadConfig } from '../../server/config/load.ts';
import type { FleetServer, FleetServerOptions } from '../../server/index.ts';
import { runOnBun } from '../bun.ts';
import { type Call, integerBetween, repeated, run, withJsonOption } from '../command-line.ts';
import { ConfigReload } from '../config-reload.ts';
import { publicNameAdvice, publicNames } from '../public-names.ts';
import { runUntilStopped } from '../run-until-stopped.ts';
import { openServiceManager } from '../service-manager.ts';
import { untilServerStopped } from '../stop-signals.ts';
import { type OutputForm, printJson, printResult } from '../terminal.ts';

interface ServeOptions {
  readonly config?: string;
  readonly data?: string;
  readonly host?: string;
  readonly enrollPort?: number;
  readonly mqttPort?: number;
  readonly store?: string;
  readonly nodeName?: string;
  readonly roles?: readonly string[];
  readonly workers?: number | 'auto';
  readonly consolePort?: number;
  readonly publicHost?: readonly string[];
  readonly runtime?: string;
}

/** Beyond the drain: requests, messages and sessions in progress, and the stores, have this many milliseconds. */
const STOP_MS = 30_000;

/** Time for the last log lines to be written. */
const LAST_LINES_MS = 1_000;

const LOCAL_NAMES = ['localhost', '127.0.0.1', '::1'];

/** What its command line cannot change. */
type Injected = Pick<FleetServerOptions, 'heartbeat'>;

async function serve({ options, form }: Call<ServeOptions>, injected: Injected): Promise<void> {
  // Loaded here: other commands start faster without the modules of the server.
  const { createLogger, loadConfig } = await import('../../server/config/load.ts');
  const load = () => loadConfig(sourcesOf(options));
  const config = load();
  refuseUntested(config);
  if (config.runtime !== runtime.name) await otherRuntime(config.runtime);
  const { expectDescriptors, startFleetServer } = await import('../../server/index.ts');
  const log = createLogger(config.log.level, {
    format: config.log.format,
    journalStream: process.env.JOURNAL_STREAM,
  });
  const manager = openServiceManager({ environment: process.env, log });
  const reload = new ConfigReload({ load, log });
  expectDescriptors();
  expectPlausibleClock(Date.now());
  // Signals are handled first: one that arrives while the server starts must still close it.
  await untilServerStopped(
    async (stopped) => {
      const start = (lost: (problem: Problem) => void, abandoned: AbortSignal) =>
        startFleetServer({
          ...{ lost, stopped: abandoned, config, version, log, ...injected },
          environment: process.env,
          now: Date.now,
          logLines: standardError,
        });
      const { server, signal } = await runUntilStopped({ config, stopped, start, log }, async (started, isFirst) => {
        if (isFirst) {
          log.info({ version, runtime: `${runtime.name} ${runtime.version}`, workers: config.mqtt.workers }, 'started');
          announce(started, config, form);
          await inviteFirstOperator(started, config, form);
          warnOfLoopbackName(config, started, log);
        }
        const ready = () => manager.ready(`EST ${started.enrollUrl}, MQTT ${started.mqttUrl}`);
        ready();
        reload.target({ server: started, begins: () => manager.reloading(), ends: ready });
        return () => reload.target(undefined);
      });
      log.info({ signal, within: config.drain.within }, 'stopping');
      manager.stopping('ending sessions', config.drain.within + STOP_MS);
      try {
        await server?.drain();
      } finally {
        await server?.close();
        await manager.close();
      }
    },
    {
      onHangUp: () => reload.hangUp(),
      onLost: (reason) => log.warn({ standardOutput: reason }, 'ignored; the server keeps running'),
    },
  );
  // Output that its reader does not take is dropped, so that the process ends.
  if (!(await standardError.settled(LAST_LINES_MS)) || process.stdout.writableLength > 0) process.exit();
}

function sourcesOf(options: ServeOptions): Parameters<typeof loadConfig>[0] {
  return {
    file: options.config,
    environment: process.env,
    flags: [
      [['data'], options.data],
      [['store', 'url'], options.store],
      [['node', 'name'], options.nodeName],
      [['node', 'roles'], options.roles],
      [['runtime'], options.runtime],
      [['enroll', 'host'], options.host],
      [['mqtt', 'host'], options.host],
      [['mqtt', 'webSocket', 'host'], options.host],
      [['enroll', 'port'], options.enrollPort],
      [['mqtt', 'port'], options.mqttPort],
      [['mqtt', 'workers'], options.workers],
      [['console', 'port'], options.consolePort],
      [['publicHosts'], options.publicHost && [...new Set([...options.publicHost, ...LOCAL_NAMES])]],
    ],
  };
}

/** No test uses keys in a PKCS#11 token on Bun, and Bun replaces the WebSocket library by its own, without our limits. */
function refuseUntested({ runtime: wanted, certificates, mqtt }: Config): void {
  if (wanted !== 'bun') return;
  const unsupported = [
    ...(certificates.keys.home === 'pkcs11' ? ['certificates.keys.home: pkcs11'] : []),
    ...(mqtt.webSocket.listen ? ['mqtt.webSocket.listen'] : []),
  ];
  if (unsupported.length === 0) return;
  throw new Problem('config_invalid', {
    reason: `${unsupported.join(' and ')} is not supported on Bun`,
    hint: 'use --runtime node',
  });
}

/** The server would otherwise run on a runtime that its configuration does not name. */
async function otherRuntime(wanted: Config['runtime']): Promise<void> {
  if (wanted === 'bun') await runOnBun();
  throw new Problem('config_invalid', {
    reason: `runtime: expected ${wanted}, and this process runs on ${runtime.name}`,
    hint: 'start bin/rollcall, with --runtime bun for Bun',
  });
}

function announce(server: FleetServer, config: Config, form: OutputForm): void {
  const { enrollUrl, mqttUrl, webSocketUrl, consoleUrl, healthUrl, trustBundle, socket } = server;
  const advice = publicNameAdvice(publicNames(config));
  const optional = { ...(webSocketUrl && { webSocketUrl }), ...(healthUrl && { healthUrl }) };
  if (form === 'json') printJson({ event: 'ready', enrollUrl, mqttUrl, consoleUrl, ...optional, trustBundle, socket });
  else {
    const { workers } = config.mqtt;
    printResult(
      [
        `enroll    ${enrollUrl}`,
        `mqtt      ${mqttUrl}${workers === 1 ? '' : `  ${workers} workers`}`,
        ...(webSocketUrl === undefined ? [] : [`websocket ${webSocketUrl}`]),
        `console   ${consoleUrl}`,
        ...(healthUrl === undefined ? [] : [`health    ${healthUrl}`]),
        `root      ${trustBundle}`,
        `ready: create a bootstrap token with "rollcall token create --data ${config.data}"`,
        ...(advice === undefined ? [] : [advice]),
      ].join('\n'),
    );
  }
}

/**
 * The link is a secret, so only a terminal gets it: other standard outputs are journals and files. A person makes another one there
 * by the command.
 */
async function inviteFirstOperator(server: FleetServer, config: Config, form: OutputForm): Promise<void> {
  if (form === 'json') return;
  if (!process.stdout.isTTY) {
    if (await server.needsFirstOperator()) {
      printResult(
        `set-up    "rollcall operator set-up-link --data ${config.data}" makes a link for the first operator`,
      );
    }
    return;
  }
  const link = await server.createSetUpLink();
  if (link !== undefined)
    printResult(`set-up    ${link}\n          adds the first operator; for one use within 24 hours`);
}

/** The log is read where nobody sees the terminal. */
function warnOfLoopbackName(config: Config, { enrollUrl, mqttUrl }: FleetServer, log: Logger): void {
  const { isLocal, loopbackName } = publicNames(config);
  if (isLocal || loopbackName === undefined) return;
  const fields = {
    enrollUrl,
    mqttUrl,
    enrollHost: config.enroll.host,
    mqttHost: config.mqtt.host,
    flag: '--public-host',
  };
  log.warn(fields, 'tokens and images name a loopback address: devices on other machines would call themselves');
}

function commaSeparated(text: string): readonly string[] {
  return text.split(',');
}

function workers(text: string): number | 'auto' {
  return text === 'auto' ? text : integerBetween(1, 64)(text);
}

/** `injected`: of a test alone. */
export function serveCommand(injected: Injected = {}): Command {
  return withJsonOption(new Command('serve').description('run the servers: EST, MQTT and console'))
    .option('--config <file>', 'YAML file of options; rollcall.example.yaml lists them all')
    .option('--data <dir>', 'data directory: CA keys, registry, journals (default: ./data)')
    .option('--store <url>', 'file: for the data directory, or postgres://user@host/database (default: file:)')
    .option('--node-name <name>', 'name of this node among those that share the store (default: the name of the host)')
    .option('--roles <list>', 'what this node serves: mqtt,enroll,console (default: all)', commaSeparated)
    .option('--host <addr>', 'address on which the EST and MQTT servers listen (default: 127.0.0.1)')
    .option(
      '--enroll-port <n>',
      'port of the EST server, 0 for any free one (default: 8443)',
      integerBetween(0, 65_535),
    )
    .option('--mqtt-port <n>', 'port of the MQTT broker, 0 for any free one (default: 8883)', integerBetween(0, 65_535))
    .option(
      '--workers <n>',
      'threads that serve MQTT, 1 to 64 (default: auto, one per core, at most 8; 1 on one or two cores)',
      workers,
    )
    .option('--console-port <n>', 'port of the console, 0 for any free one (default: 8444)', integerBetween(0, 65_535))
    .addOption(
      new Option('--runtime <name>', 'runtime of the server (default: node); bun is an optional dependency').choices([
        'node',
        'bun',
      ]),
    )
    .option('--public-host <name>', 'name or address by which devices reach this machine; may be repeated', repeated)
    .action(run<ServeOptions>((call) => serve(call, injected)));
}
