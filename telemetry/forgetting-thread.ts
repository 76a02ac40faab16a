/** The thread that copies segments without what is not kept: gigabytes, while neither a commit nor a question waits. */

import { copyWithout, type ForgetOrder } from './forgetting.ts';
import { answerCalls } from './thread-program.ts';

answerCalls({
  open: () => undefined,
  forget: (order: ForgetOrder) => ({ value: copyWithout(order), transfer: [] }),
  close: () => undefined,
});
