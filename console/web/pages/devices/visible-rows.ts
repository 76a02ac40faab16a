/** Which rows of a long list are on the screen. The window scrolls, rows have one height, and only these rows are in the document. */

import { type Signal, useSignal } from '@preact/signals';
import type { RefObject } from 'preact';
import { useEffect } from 'preact/hooks';

export interface RowRange {
  readonly first: number;
  /** Behind the last one. */
  readonly end: number;
}

/** Rows above and below the screen, so that a fast scroll and the focus find rows. */
const MARGIN = 15;
/** The range moves in steps, so that not every scroll event draws. */
const STEP = 5;

/** `place` is the element that is as high as all rows together. */
export function useVisibleRows(
  place: RefObject<HTMLElement | null>,
  count: number,
  rowHeight: number,
): Signal<RowRange> {
  const range = useSignal<RowRange>({ first: 0, end: 0 });
  useEffect(() => {
    let frame: number | undefined;
    const measure = () => {
      frame = undefined;
      const top = place.current?.getBoundingClientRect().top ?? 0;
      const first = Math.floor(-top / rowHeight / STEP) * STEP - MARGIN;
      const end = first + Math.ceil(innerHeight / rowHeight / STEP) * STEP + 2 * MARGIN + STEP;
      const next = { first: Math.max(0, Math.min(first, count)), end: Math.max(0, Math.min(end, count)) };
      const { first: before, end: endBefore } = range.peek();
      if (next.first !== before || next.end !== endBefore) range.value = next;
    };
    const schedule = () => {
      frame ??= requestAnimationFrame(measure);
    };
    measure();
    addEventListener('scroll', schedule, { passive: true });
    addEventListener('resize', schedule);
    return () => {
      removeEventListener('scroll', schedule);
      removeEventListener('resize', schedule);
      if (frame !== undefined) cancelAnimationFrame(frame);
    };
  }, [count, rowHeight, place, range]);
  return range;
}
