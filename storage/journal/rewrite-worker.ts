/** The thread that copies segments without what is not kept: gigabytes, while neither a commit nor a question waits. */

import { answerCalls } from '../worker-program.ts';
import { copyWithout, type ForgetOrder } from './segment-rewrite.ts';

answerCalls({
  open: () => undefined,
  forget: (order: ForgetOrder) => ({ value: copyWithout(order), transfer: [] }),
  close: () => undefined,
});
