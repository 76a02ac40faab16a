import { visibleLines } from '@rollcall/output';
import type { Histogram } from '../registry/index.ts';
/**
 * A key is a metric's name, `messages_accepted_total`, or a name and one label, `refused_total/reason=revoked`. Names are
 * prefixed with `rollcall_`; those that end in `_total` are counters, the others gauges.
 */
export function writeMetrics(
  counters: Readonly<Record<string, number>>,
  version: string,
  histograms: Readonly<Record<string, Histogram>> = {},
): string {
  const families = new Map<string, string[]>();
  const add = (key: string, value: number) => {
    const { name, label } = parseKey(key);
    const samples = families.get(name) ?? [];
    if (samples.length === 0) families.set(name, samples);
    samples.push(`${name}${label} ${formatValue(value)}\n`);
  };
  add(`info/version=${version}`, 1);
  for (const [key, value] of Object.entries(counters)) add(key, value);
  let text = '';
  for (const [name, samples] of families) {
    text += `# TYPE ${name} ${name.endsWith('_total') ? 'counter' : 'gauge'}\n${samples.join('')}`;
  }
  for (const [key, histogram] of Object.entries(histograms)) text += writeHistogram(metricName(key), histogram);
  return text;
}

function writeHistogram(name: string, { buckets, sum, count }: Histogram): string {
  const samples = buckets.map(({ le, count: below }) => `${name}_bucket{le="${formatValue(le)}"} ${below}\n`);
  return `# TYPE ${name} histogram\n${samples.join('')}${name}_sum ${formatValue(sum)}\n${name}_count ${count}\n`;
}

function parseKey(key: string): { readonly name: string; readonly label: string } {
  const slash = key.indexOf('/');
  const equals = key.indexOf('=', slash);
  if (slash < 0 || equals < 0) return { name: metricName(key), label: '' };
  const value = visibleLines(key.slice(equals + 1))
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n');
  return { name: metricName(key.slice(0, slash)), label: `{${word(key.slice(slash + 1, equals))}="${value}"}` };
}

function metricName(text: string): string {
  return `rollcall_${word(text)}`;
}

function word(text: string): string {
  return text.replace(/[^A-Za-z0-9_]/g, '_');
}

function formatValue(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  return String(value);
}
