/** Holds the walls of the house: who may import whom, and the words and habits that have no room in it. */

import { readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { sourceFiles } from './testkit/source-files.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

const BELOW_CLI = [
  'contract',
  'output',
  'throttle',
  'sqlite',
  'registry',
  'telemetry',
  'sessions',
  'events',
  'sinks',
  'enroll',
  'broker',
  'console',
  'device-sdk',
  'simulator',
  'backup',
];

/** Room -> rooms it may import. The same table stands in ARCHITECTURE.md. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  contract: [],
  output: [],
  throttle: [],
  sqlite: ['contract'],
  registry: ['contract', 'sqlite'],
  telemetry: ['contract', 'sqlite'],
  sessions: ['contract', 'sqlite'],
  backup: ['contract', 'sqlite'],
  events: ['contract', 'throttle', 'sqlite', 'registry', 'telemetry'],
  sinks: ['contract', 'output', 'telemetry'],
  enroll: ['contract', 'throttle', 'registry'],
  broker: ['contract', 'throttle', 'registry', 'telemetry', 'sessions'],
  console: ['contract', 'output', 'throttle', 'registry', 'telemetry'],
  'device-sdk': ['contract', 'output'],
  simulator: ['contract', 'output', 'device-sdk'],
  cli: [...BELOW_CLI],
  test: [...BELOW_CLI, 'cli'],
};

/** Their numbers are no text of others, or text whose digits a pattern or a URL has judged: hexadecimal, octal, signs. */
const READ_NUMBERS_OTHERWISE = new Set([
  'backup/tar.ts',
  'cli/commands/telemetry.ts',
  'contract/decimal.ts',
  'contract/localhost.ts',
  'contract/server-urls.ts',
  'device-sdk/agent/settings.ts',
  'device-sdk/journal-segment.ts',
  'enroll/crl-writer.ts',
  'enroll/renewal-windows.ts',
  'enroll/rsa-weakness.ts',
  'enroll/testbed-killed-issuance.ts',
  'enroll/testbed-killed-rotation.ts',
  'events/event-log.ts',
  'registry/audit.ts',
  'registry/tokens.ts',
  'simulator/drill/listener.ts',
  'simulator/run/entry.ts',
  'simulator/scenario/recording.ts',
  'sinks/file-target.ts',
  'telemetry/questions.ts',
]);

const DRAWER = /(^|\/)(utils?|common|helpers?|shared|misc|core|lib)(\/|\.ts$)/;
const LINES_AT_MOST = 500;

interface SourceFile {
  readonly path: string;
  readonly room: string;
  readonly text: string;
  readonly imports: readonly string[];
}

const files: readonly SourceFile[] = sourceFiles('.ts').map((path) => {
  const text = readFileSync(join(root, path), 'utf8');
  const imports = [
    ...text.matchAll(/^\s*(?:import|export)\b[^;'"]*?from\s+'([^']+)'|\bimport\(\s*'([^']+)'|^import\s+'([^']+)'/gm),
  ];
  return {
    path,
    room: path.split('/')[0] as string,
    text,
    imports: imports.map((m) => (m[1] ?? m[2] ?? m[3]) as string),
  };
});

const inRooms = files.filter((file) => file.path.includes('/'));
const isTest = (path: string) => path.endsWith('.test.ts') || path.startsWith('test/');

function roomOfImport(file: SourceFile, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return relative('.', normalize(join(dirname(file.path), specifier))).split('/')[0];
}

function withoutComments(text: string): string {
  return text.replace(/^\s*(\/\*\*?|\*|\/\/).*$/gm, '');
}

describe('the rooms of the house', () => {
  it('are all in the import table', () => {
    expect(inRooms.length).toBeGreaterThan(15);
    expect([...new Set(inRooms.map((file) => file.room))].filter((room) => !Object.hasOwn(MAY_IMPORT, room))).toEqual(
      [],
    );
  });

  it('import only the rooms that the table allows', () => {
    const wrong = inRooms.flatMap((file) =>
      file.imports.flatMap((specifier) => {
        const target = roomOfImport(file, specifier);
        if (target === undefined || target === file.room) return [];
        // A test beside the code may use the shared behaviour suites and the testkit.
        if (isTest(file.path) && (target === 'test' || MAY_IMPORT[file.room]?.includes(target))) return [];
        return MAY_IMPORT[file.room]?.includes(target) ? [] : [`${file.path} imports ${specifier}`];
      }),
    );
    expect(wrong).toEqual([]);
  });

  it('leave contract without any package', () => {
    const wrong = files
      .filter((file) => file.room === 'contract' && !isTest(file.path))
      .flatMap((file) => file.imports.filter((s) => !s.startsWith('./')));
    expect(wrong).toEqual([]);
  });

  it('read numbers in text by contract/decimal.ts alone', () => {
    const reading = /\bNumber\(|\bparseInt\(|\bparseFloat\(|z\.coerce\b/;
    const wrong = inRooms.filter(
      (file) =>
        !READ_NUMBERS_OTHERWISE.has(file.path) && !isTest(file.path) && reading.test(withoutComments(file.text)),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('have no drawer where things without a home gather', () => {
    expect(files.map((file) => file.path).filter((path) => DRAWER.test(path))).toEqual([]);
  });

  it('keep SQL in the rooms that own a database: registry, telemetry, sessions, events and sinks', () => {
    const sql = /\b(SELECT\s+.+\s+FROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE)\b/;
    const wrong = inRooms.filter(
      (file) =>
        !['registry', 'telemetry', 'sessions', 'events', 'sinks'].includes(file.room) &&
        !isTest(file.path) &&
        sql.test(file.text),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('open SQLite files only in sqlite/, which keeps the locks of those that are open', () => {
    const wrong = inRooms.filter(
      (file) =>
        file.room !== 'sqlite' &&
        !isTest(file.path) &&
        !/(^|\/)testbed-/.test(file.path) &&
        /\bnew Database\(|\bDatabaseSync\b/.test(withoutComments(file.text)),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('read the environment only at the program edge', () => {
    const edges = ['cli', 'device-sdk/agent/main.ts'];
    const wrong = inRooms.filter(
      (file) =>
        !edges.includes(file.room) &&
        !edges.includes(file.path) &&
        !isTest(file.path) &&
        /\bprocess\.env\b/.test(file.text),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('build and match topics only in contract/topics.ts', () => {
    const topicWork = /`devices\/|'devices\/|`groups\/|\.split\('\/'\)/;
    const allowed = new Set(['contract/topics.ts', 'contract/policy.ts']);
    const wrong = inRooms.filter(
      (file) => !allowed.has(file.path) && !isTest(file.path) && topicWork.test(withoutComments(file.text)),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('use no enum, no default export, no star export', () => {
    const wrong = inRooms.filter((file) =>
      /^\s*(export\s+)?(const\s+)?enum\s|^export default|^export \*/m.test(file.text),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('keep files short enough to read, and none empty', () => {
    const lines = (file: SourceFile) => file.text.split('\n').length;
    expect(
      files
        .filter((file) => lines(file) > LINES_AT_MOST || file.text.trim() === '')
        .map((file) => `${file.path}: ${lines(file)}`),
    ).toEqual([]);
  });
});
