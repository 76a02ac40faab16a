/** Rules of the sources that no linter checks. Biome checks which module may import which (biome.json). */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { sourceFiles } from './fixtures/source-files.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Files that convert numbers from trusted text, or from text that a pattern or a URL parser has validated: hexadecimal, octal, signs. */
const CONVERT_VALIDATED_NUMBERS = new Set([
  'server/backup/tar.ts',
  'cli/commands/telemetry.ts',
  'cli/top/metric-samples.ts',
  'console/web/api.ts',
  'protocol/decimal.ts',
  'protocol/localhost.ts',
  'protocol/server-urls.ts',
  'device-sdk/agent/settings.ts',
  'device-sdk/journal-segment.ts',
  'enroll/status/crl-writer.ts',
  'enroll/est/renewal-windows.ts',
  'enroll/x509/rsa-weakness.ts',
  'limits/client-network.ts',
  'limits/address-networks.ts',
  'test/fixtures/enroll/killed-issuance.ts',
  'test/fixtures/enroll/killed-rotation.ts',
  'server/events/event-log.ts',
  'server/metrics.ts',
  'registry/audit/audit.ts',
  'registry/tokens/create-token.ts',
  'simulator/drill/trust-bundle-subscriber.ts',
  'simulator/run/targets.ts',
  'simulator/scenario/recording.ts',
  'storage/postgres/column-types.ts',
  'telemetry/sinks/file-target.ts',
  'telemetry/telemetry-reader.ts',
]);

/** Folders that contain SQL: of their own database, or of a sink's target. */
const OWNS_A_DATABASE =
  /^(registry|telemetry|storage\/journal|storage\/postgres|broker\/(session-store|cluster)|server\/events)\//;

const VAGUE_NAME = /(^|\/)(utils?|common|helpers?|shared|misc|core|lib)(\/|\.tsx?$)/;
const LINES_AT_MOST = 500;

interface SourceFile {
  readonly path: string;
  readonly module: string;
  readonly text: string;
}

const files: readonly SourceFile[] = sourceFiles('.ts', '.tsx').map((path) => {
  const text = readFileSync(join(root, path), 'utf8');
  return {
    path,
    module: path.split('/')[0] as string,
    text,
  };
});

const inModules = files.filter((file) => file.path.includes('/'));
const isTest = (path: string) => path.endsWith('.test.ts') || path.startsWith('test/');

function withoutComments(text: string): string {
  return text.replace(/^\s*(\/\*\*?|\*|\/\/).*$/gm, '');
}

describe('the sources', () => {
  it('parse numbers in text only with protocol/decimal.ts', () => {
    const reading = /\bNumber\(|\bparseInt\(|\bparseFloat\(|z\.coerce\b/;
    const wrong = inModules.filter(
      (file) =>
        !CONVERT_VALIDATED_NUMBERS.has(file.path) && !isTest(file.path) && reading.test(withoutComments(file.text)),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
    const absent = [...CONVERT_VALIDATED_NUMBERS].filter((path) => !files.some((file) => file.path === path));
    expect(absent).toEqual([]);
  });

  it('have no file or folder whose name does not say what it holds', () => {
    expect(files.map((file) => file.path).filter((path) => VAGUE_NAME.test(path))).toEqual([]);
  });

  it('keep SQL in the folders that own a database', () => {
    const sql = /\b(SELECT\s+.+\s+FROM|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+TABLE)\b/;
    const wrong = inModules.filter(
      (file) => !OWNS_A_DATABASE.test(file.path) && !isTest(file.path) && sql.test(file.text),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('open SQLite files only in storage/, which protects the locks of open files', () => {
    const wrong = inModules.filter(
      (file) =>
        file.module !== 'storage' &&
        !isTest(file.path) &&
        /\bnew Database\(|\bDatabaseSync\b/.test(withoutComments(file.text)),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('read the environment only in the programs, not in the modules', () => {
    const programs = ['cli', 'device-sdk/agent/main.ts'];
    const wrong = inModules.filter(
      (file) =>
        !programs.includes(file.module) &&
        !programs.includes(file.path) &&
        !isTest(file.path) &&
        /\bprocess\.env\b/.test(file.text),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('build and match topics only in protocol/topics.ts', () => {
    const topicWork = /`devices\/|'devices\/|`groups\/|\.split\('\/'\)/;
    // The last one puts rules into words and decides nothing; it runs in browsers.
    const allowed = new Set(['protocol/topics.ts', 'protocol/policy.ts', 'console/web/pages/policies/rule-words.ts']);
    const wrong = inModules.filter(
      (file) => !allowed.has(file.path) && !isTest(file.path) && topicWork.test(withoutComments(file.text)),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('start programs beside a test only with test/fixtures/started-processes.ts, which ends them', () => {
    const starting = /import \{[^}]*\b(spawn|exec|execFile|fork)\b[^}]*\} from 'node:child_process'/;
    // Programs of their own, which no test imports.
    const scripts = /^test\/(bench|several-nodes)\/(?!.*\.test\.ts$)|^test\/compatibility\/make-older-fleet\.ts$/;
    const wrong = files.filter(
      ({ path, text }) =>
        isTest(path) && !scripts.test(path) && path !== 'test/fixtures/started-processes.ts' && starting.test(text),
    );
    expect(wrong.map((file) => file.path)).toEqual([]);
  });

  it('use no enum, no default export, no star export', () => {
    const wrong = inModules.filter((file) =>
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

describe('the style sheets of the pages', () => {
  /** Loaded with every page. The others are loaded with the first page that needs them, and stay. */
  const ALWAYS_LOADED = /^console\/web\/styles\/(tokens|elements|layout|parts)\.css$/;
  const sheets = sourceFiles('.css').map((path) => ({
    path,
    classes: firstClasses(readFileSync(join(root, path), 'utf8')),
  }));

  it.each(sheets.filter(({ path }) => !ALWAYS_LOADED.test(path)))(
    'change only what has a class of their own, so that no page depends on which was opened before: $path',
    ({ path, classes }) => {
      const elsewhere = new Set(sheets.filter((other) => other.path !== path).flatMap((other) => other.classes));
      expect(classes.length).toBeGreaterThan(0);
      expect(classes.filter((name) => name === undefined || elsewhere.has(name))).toEqual([]);
    },
  );
});

/** The first class of each selector; undefined for one without a class. Selectors of `@media` are those inside it. */
function firstClasses(css: string): readonly (string | undefined)[] {
  const rules = css.replaceAll(/\/\*.*?\*\//gs, '').matchAll(/([^{};]+)\{/g);
  return [...rules]
    .map(([, selectors = '']) => selectors.trim())
    .filter((selectors) => !selectors.startsWith('@'))
    .flatMap((selectors) => selectors.split(/,(?![^(]*\))/))
    .map((selector) => /\.[A-Za-z][\w-]*/.exec(selector)?.[0]);
}
