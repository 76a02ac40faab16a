/** The worker that rewrites segments without removed devices: gigabytes, while neither commits nor queries wait. */

import { answerCalls } from '../worker-program.ts';
import { type RewriteOrder, rewriteSegment } from './segment-rewrite.ts';

answerCalls({
  open: () => undefined,
  rewrite: (order: RewriteOrder) => ({ value: rewriteSegment(order), transfer: [] }),
  close: () => undefined,
});
