import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

export interface ChartSeries {
  readonly label: string;
  /** A custom property of the theme: `--accent`. */
  readonly colour: `--${string}`;
}

export interface ChartProps {
  /** Seconds since the epoch, ascending. */
  readonly times: readonly number[];
  /** One array per series, `null` where there is no value. */
  readonly values: readonly (readonly (number | null)[])[];
  readonly series: readonly ChartSeries[];
  /** What the chart shows, in words, for those who cannot see it. */
  readonly summary: string;
  readonly height?: number;
  /** First and last second of the axis; otherwise those of the data. */
  readonly range?: readonly [from: number, until: number];
  /** The axis of values begins at zero, and the space below the lines is tinted. */
  readonly fromZero?: boolean;
  /** Values are counts: the axis has whole numbers alone. */
  readonly whole?: boolean;
  /** A value with its unit. */
  readonly format?: (value: number) => string;
  /** Bars of so many seconds from each time on, in place of lines; series are drawn on top of each other. */
  readonly barSeconds?: number;
  /** The legend has the sums of the series, in place of their newest values. */
  readonly totals?: boolean;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const DAY = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const MOMENT = new Intl.DateTimeFormat(undefined, {
  ...{ day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' },
});
const PLAIN = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 3 });
const DAY_SECONDS = 86_400;

/** Lines or bars over time. The legend shows the newest values, and those under the pointer. */
export function Chart(props: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const pointed = useSignal<number | undefined>(undefined);
  const current = useRef(props);
  current.current = props;
  const height = props.height ?? 200;
  const shape = JSON.stringify([props.series, height, props.fromZero, props.barSeconds]);
  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    const draw = () => {
      plot.current?.destroy();
      const point = (index: number | undefined) => {
        pointed.value = index;
      };
      plot.current = new uPlot(optionsOf(current, element, height, point), dataOf(current.current), element);
    };
    draw();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    resized.observe(element);
    const theme = matchMedia('(prefers-color-scheme: dark)');
    theme.addEventListener('change', draw);
    const chosen = new MutationObserver(draw);
    chosen.observe(document.documentElement, { attributeFilter: ['data-theme'] });
    return () => {
      resized.disconnect();
      chosen.disconnect();
      theme.removeEventListener('change', draw);
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(dataOf(current.current)));
  return (
    <figure class="chart">
      <div ref={place} role="img" aria-label={props.summary} />
      <Legend chart={props} index={pointed.value} />
    </figure>
  );
}

function Legend({ chart, index }: { readonly chart: ChartProps; readonly index: number | undefined }) {
  const { times, values, series, format = plainText, totals = false } = chart;
  const at = index === undefined ? undefined : times[index];
  return (
    <figcaption class="chart-legend">
      {series.map((one, order) => {
        const own = values[order] ?? [];
        const value = index === undefined && totals ? sumOf(own) : own[index ?? times.length - 1];
        return (
          <span key={one.label}>
            <i class={`swatch ${one.colour.slice(2)}`} />
            {one.label} <strong>{value === null || value === undefined ? '–' : format(value)}</strong>
          </span>
        );
      })}
      <span class="chart-moment">{at === undefined ? '' : MOMENT.format(at * 1000)}</span>
    </figcaption>
  );
}

function sumOf(values: readonly (number | null)[]): number {
  return values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
}

function plainText(value: number): string {
  return PLAIN.format(value);
}

/** Bars are stacked: each series is drawn as the sum of it and those before it, the highest first. */
function dataOf({ times, values, barSeconds }: ChartProps): uPlot.AlignedData {
  if (barSeconds === undefined) return [[...times], ...values.map((one) => [...one])] as unknown as uPlot.AlignedData;
  const sums: number[][] = [];
  for (const one of values) {
    const below = sums.at(-1);
    sums.push(one.map((value, index) => (value ?? 0) + (below?.[index] ?? 0)));
  }
  return [[...times], ...sums.reverse()] as unknown as uPlot.AlignedData;
}

function optionsOf(
  props: { readonly current: ChartProps },
  element: HTMLElement,
  height: number,
  point: (index: number | undefined) => void,
): uPlot.Options {
  const { series, fromZero = false, barSeconds, whole = false } = props.current;
  const colour = (name: string) => resolvedColour(element, `var(${name})`);
  const axis = {
    stroke: colour('--text-soft'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
    font: `11px ${getComputedStyle(element).fontFamily}`,
  };
  const text = (value: number) => (props.current.format ?? plainText)(value);
  return {
    width: element.clientWidth,
    height,
    padding: [8, 18, 0, 0],
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 } },
    legend: { show: false },
    scales: {
      x: { time: true, range: (_, least, most) => [...(props.current.range ?? [least, most])] as [number, number] },
      ...(fromZero && { y: { range: (_, __, most) => [0, uPlot.rangeNum(0, most || 1, 0.1, true)[1] ?? 1] } }),
    },
    axes: [
      { ...axis, space: 64, size: 26, values: (_, times, __, ___, step) => times.map((time) => clockText(time, step)) },
      {
        ...axis,
        space: 36,
        ...(whole && { incrs: WHOLE }),
        values: (_, values) => values.map((value) => text(value)),
        size: (_, texts) => 12 + Math.max(0, ...(texts ?? []).map((one) => one.length)) * 6.5,
      },
    ],
    series: [{}, ...linesOf(series, { colour, fromZero, barSeconds })],
    hooks: { setCursor: [({ cursor }) => point(cursor.idx ?? undefined)] },
  };
}

function linesOf(
  series: readonly ChartSeries[],
  style: {
    readonly colour: (name: string) => string;
    readonly fromZero: boolean;
    readonly barSeconds: number | undefined;
  },
): uPlot.Series[] {
  const { colour, fromZero, barSeconds } = style;
  if (barSeconds !== undefined) {
    const paths = uPlot.paths.bars?.({ size: [0.8, 40], align: 1 });
    return [...series].reverse().map(({ label, colour: name }) => ({
      ...{ label, fill: colour(name), width: 0, points: { show: false } },
      ...(paths !== undefined && { paths }),
    }));
  }
  return series.map(({ label, colour: name }, order) => ({
    ...{ label, stroke: colour(name), width: 1.5, points: LONELY, spanGaps: false },
    ...(fromZero && order === 0 && { fill: colour(name).replace(/^rgb\((.*)\)$/, 'rgba($1, 0.1)') }),
  }));
}

const WHOLE = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();

/** A line needs two points: fewer are drawn as points. */
const LONELY: uPlot.Series.Points = { show: (_, __, first, last) => last - first < 2, size: 5 };

function clockText(seconds: number, step: number): string {
  return (step >= DAY_SECONDS ? DAY : CLOCK).format(seconds * 1000);
}

/** A canvas needs the colour that `light-dark()` chooses. */
function resolvedColour(element: HTMLElement, value: string): string {
  const before = element.style.color;
  element.style.color = value;
  const colour = getComputedStyle(element).color;
  element.style.color = before;
  return colour;
}
