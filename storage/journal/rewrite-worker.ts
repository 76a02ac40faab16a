/** The thread that copies segments without what is not kept: gigabytes, while neither a commit nor a question waits. */

import { answerCalls } from '../worker-program.ts';
import { type RewriteOrder, rewriteSegment } from './segment-rewrite.ts';

answerCalls({
  open: () => undefined,
  forget: (order: RewriteOrder) => ({ value: rewriteSegment(order), transfer: [] }),
  close: () => undefined,
});
