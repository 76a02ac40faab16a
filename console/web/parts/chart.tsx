import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

export interface ChartSeries {
  readonly label: string;
  /** A custom property of the theme: `--accent`. */
  readonly colour: `--${string}`;
}

/**
 * Lines over time. `times` are seconds since the epoch, ascending; `values` has one array per series, `null` where there is no
 * value. `summary` says in words what the chart shows, for those who cannot see it.
 */
export function Chart(props: {
  readonly times: readonly number[];
  readonly values: readonly (readonly (number | null)[])[];
  readonly series: readonly ChartSeries[];
  readonly summary: string;
  readonly height?: number;
}) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const data = [[...props.times], ...props.values.map((one) => [...one])] as unknown as uPlot.AlignedData;
  const shape = JSON.stringify([props.series, props.height]);
  // The shape stands for series and height; new data is set below.
  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(props.series, element, props.height ?? 220), data, element);
    };
    draw();
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: props.height ?? 220 }),
    );
    resized.observe(element);
    const theme = matchMedia('(prefers-color-scheme: dark)');
    theme.addEventListener('change', draw);
    return () => {
      resized.disconnect();
      theme.removeEventListener('change', draw);
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data));
  return <div class="chart" ref={place} role="img" aria-label={props.summary} />;
}

function optionsOf(series: readonly ChartSeries[], element: HTMLElement, height: number): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => resolvedColour(element, `var(${name})`);
  const axis = {
    stroke: colour('--text-soft'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { stroke: colour('--line'), width: 1 },
    font: `12px ${style.fontFamily}`,
  };
  return {
    width: element.clientWidth,
    height,
    cursor: { drag: { x: false, y: false } },
    legend: { live: true },
    axes: [axis, { ...axis, size: 56 }],
    series: [
      {},
      ...series.map((one) => ({ label: one.label, stroke: colour(one.colour), width: 1.75, points: { show: false } })),
    ],
  };
}

/** A canvas needs the colour that `light-dark()` chooses. */
function resolvedColour(element: HTMLElement, value: string): string {
  const before = element.style.color;
  element.style.color = value;
  const colour = getComputedStyle(element).color;
  element.style.color = before;
  return colour;
}
