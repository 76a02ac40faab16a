/** Reads metrics in the text format of Prometheus (exposition format 0.0.4). */

export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

export class MetricSamples {
  readonly #samples = new Map<string, MetricSample[]>();

  /** Skips comments, and samples that are no finite number. */
  constructor(text: string) {
    for (const line of text.split('\n')) {
      const [, name, labels = '', value] = LINE.exec(line) ?? [];
      if (name === undefined) continue;
      const sample = { labels: labelsOf(labels), value: Number(value) };
      const found = this.#samples.get(name);
      if (found === undefined) this.#samples.set(name, [sample]);
      else found.push(sample);
    }
  }

  /** Of all labels, in the order of the text. */
  all(name: string): readonly MetricSample[] {
    return this.#samples.get(name) ?? [];
  }

  /** Of a metric without labels; 0 when the text does not have it. */
  value(name: string): number {
    return this.all(name)[0]?.value ?? 0;
  }

  /** Of the sample whose label has this value. */
  valueOf(name: string, label: string, labelValue: string): number | undefined {
    return this.all(name).find(({ labels }) => labels[label] === labelValue)?.value;
  }
}

function labelsOf(text: string): Readonly<Record<string, string>> {
  const pairs = [...text.matchAll(LABEL)].map(([, name = '', value = '']) => [name, unescapeLabel(value)] as const);
  return Object.fromEntries(pairs);
}

function unescapeLabel(text: string): string {
  return text.replace(/\\(.)/g, (_, character: string) => (character === 'n' ? '\n' : character));
}
