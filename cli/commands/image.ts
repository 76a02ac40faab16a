import { readFileSync } from 'node:fs';
import { DEFAULT_GROUP, type GroupName, NAME_RULE, Problem, parseDeviceId } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { version } from '../../server/config/index.ts';
import {
  duration,
  groupName,
  integerBetween,
  label,
  run,
  runWithServer,
  withJsonOption,
  withServerOptions,
} from '../command-line.ts';
import type { ImageOptions, ImageToken } from '../image/make-image.ts';
import { tokenAdvice } from '../public-names.ts';
import { printJson, printResult } from '../terminal.ts';

interface MakeOptions {
  readonly out: string;
  readonly group: GroupName;
  readonly label?: Readonly<Record<string, string>>;
  readonly uses?: number;
  readonly count?: number;
  readonly prefix: string;
  readonly ids?: string;
  readonly ttl: number;
  readonly listen?: number;
  readonly node?: string;
  readonly allowLoopback?: boolean;
}

const KITS_MAX = 10_000;
const IDS_FILE_MAX_BYTES = 1_048_576;

const make = runWithServer<MakeOptions>(async (server, { options, form }) => {
  const ids = deviceIds(options);
  const { makeImage, makeKits } = await import('../image/make-image.ts');
  const order: ImageOptions = {
    out: options.out,
    group: options.group,
    version,
    rootPem: await server.trustBundle(),
    listenPort: options.listen,
    node: options.node,
    madeAt: Date.now(),
  };
  if (ids === undefined) {
    const token = await createToken(server, options, undefined);
    const manifest = await makeOrRevoke(server, [token], () => {
      expectReachable(token, options);
      return makeImage(order, token);
    });
    if (form === 'json') return printJson(manifest);
    return printResult(
      `image for ${token.maxUses} devices of group ${options.group} written to ${options.out}; its token expires at ${token.expiresAt}${localOnly(token)}`,
    );
  }
  const tokens: ImageToken[] = [];
  const manifests = await makeOrRevoke(server, tokens, async () => {
    for (const id of ids) {
      const token = await createToken(server, options, id);
      tokens.push(token);
      expectReachable(token, options);
    }
    return makeKits(order, tokens);
  });
  if (form === 'json') return printJson(manifests);
  printResult(
    `${ids.length} kits written to ${options.out}/kits, listed in ${options.out}/kits.csv${localOnly(tokens[0] as ImageToken)}`,
  );
});

/** Throws Problem `usage` for a token that a gateway cannot use. */
function expectReachable({ text }: ImageToken, { allowLoopback }: MakeOptions): void {
  const advice = tokenAdvice(text);
  if (advice === undefined || allowLoopback === true) return;
  throw new Problem('usage', {
    detail: advice,
    hint: 'name the server, and make the image again; --allow-loopback makes one for this machine',
  });
}

function localOnly({ text }: ImageToken): string {
  return tokenAdvice(text) === undefined ? '' : '; only this machine can use it';
}

/** Revokes the tokens when the image cannot be made. */
async function makeOrRevoke<T>(
  server: ConsoleClient,
  tokens: readonly ImageToken[],
  write: () => Promise<T>,
): Promise<T> {
  try {
    return await write();
  } catch (error) {
    for (const { id } of tokens) await server.revokeToken({ id }).catch(() => {});
    throw error;
  }
}

async function createToken(
  server: ConsoleClient,
  options: MakeOptions,
  device: string | undefined,
): Promise<ImageToken> {
  const { token, text } = await server.createToken({
    uses: device === undefined ? (options.uses ?? 1) : 1,
    ttlSeconds: Math.round(options.ttl / 1000),
    group: options.group,
    ...(device !== undefined && { device }),
    ...(options.label !== undefined && { labels: options.label }),
  });
  return { text, id: token.id, maxUses: token.maxUses, expiresAt: token.expiresAt, device };
}

/** Undefined for one image that many devices share. */
function deviceIds({ uses, count, prefix, ids }: MakeOptions): readonly string[] | undefined {
  if ([uses, count, ids].filter((given) => given !== undefined).length !== 1) {
    throw new Problem('usage', {
      reason: 'expected one of --uses (an identical image), --count or --ids (a kit for each device)',
    });
  }
  if (uses !== undefined) return undefined;
  const names = ids === undefined ? numbered(prefix, count as number) : idsIn(ids);
  for (const name of names) {
    if (parseDeviceId(name) === undefined) {
      throw new Problem('usage', {
        reason: `expected device ids of ${NAME_RULE}, found ${JSON.stringify(name.slice(0, 64))}`,
      });
    }
  }
  if (names.length === 0 || names.length > KITS_MAX) {
    throw new Problem('usage', { reason: `expected 1 to ${KITS_MAX} devices, found ${names.length}` });
  }
  if (new Set(names).size !== names.length) throw new Problem('usage', { reason: 'expected each device id once' });
  return names;
}

function numbered(prefix: string, count: number): readonly string[] {
  const width = Math.max(4, String(count).length);
  return Array.from({ length: count }, (_, index) => `${prefix}${String(index + 1).padStart(width, '0')}`);
}

/** One id a line. */
function idsIn(file: string): readonly string[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new Problem('usage', {
      reason: `--ids: ${file} could not be read: ${(error as NodeJS.ErrnoException).code}`,
    });
  }
  if (text.length > IDS_FILE_MAX_BYTES) {
    throw new Problem('usage', { reason: `--ids: expected at most ${IDS_FILE_MAX_BYTES} bytes in ${file}` });
  }
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

interface VerifyOptions {
  readonly allowLoopback?: boolean;
  readonly connect?: boolean;
}

const verify = run<VerifyOptions>(async ({ args, options, form }) => {
  const directory = args[0] as string;
  const { verifyImages } = await import('../image/verify-image.ts');
  const { connectFromHere } = await import('../image/connect-from-here.ts');
  const verified = verifyImages(directory, { now: Date.now(), allowLoopback: options.allowLoopback === true });
  const images = options.connect === true ? await connectFromHere(verified) : verified;
  const faulty = images.filter(({ faults }) => faults.length > 0);
  if (form === 'json') printJson(images);
  for (const { directory: where, faults } of faulty) for (const fault of faults) printFault(`${where}/${fault}`, form);
  if (faulty.length > 0) {
    const reason = `${faulty.length} of ${images.length} images in ${directory} are faulty; do not flash them`;
    throw new Problem('usage', { reason });
  }
  if (form === 'text') printResult(`${images.length === 1 ? 'the image is' : `${images.length} kits are`} valid`);
  if (form === 'text' && options.connect === true) {
    printResult('its servers answer here: address, certificate chain, pinned root and names are in order');
  }
});

function printFault(fault: string, form: 'json' | 'text'): void {
  if (form === 'text') printResult(fault);
}

export function imageCommand(): Command {
  const image = new Command('image').description(
    'images for gateways: agent, settings, root certificate and bootstrap token',
  );
  withServerOptions(image.command('make').description('make an image, or a kit for each device, with bootstrap tokens'))
    .requiredOption('--out <dir>', 'directory to write; it must be empty or not exist')
    .option('--group <group>', 'group of its devices', groupName, DEFAULT_GROUP)
    .option('--label <k=v>', 'label of its devices; may be repeated', label)
    .option('--uses <n>', 'one image for so many devices', integerBetween(1, 1_000_000))
    .option('--count <n>', 'a kit for each of so many devices', integerBetween(1, KITS_MAX))
    .option('--prefix <text>', 'with --count: prefix of the device ids', 'dev-')
    .option('--ids <file>', 'a kit for each device id in a file, one a line')
    .addOption(
      new Option('--ttl <duration>', 'time until its token expires, at most 30d')
        .argParser(duration)
        .default(7 * 86_400_000, '7d'),
    )
    .option('--listen <port>', 'plain MQTT for applications on this port of 127.0.0.1', integerBetween(1, 65_535))
    .option('--node <file>', 'Node executable to include')
    .option('--allow-loopback', 'although the server has no name for other machines (--public-host)')
    .action(make);
  withJsonOption(
    image
      .command('verify')
      .argument('<dir>')
      .description('verify the files of an image and that its token has not expired'),
  )
    .option('--connect', 'connect to its servers from this machine: address, certificate chain, pinned root, name')
    .option('--allow-loopback', 'accept an image for devices on the machine of the server')
    .action(verify);
  return image;
}
