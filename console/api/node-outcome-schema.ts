/** What each node did about a change: the part of a proof that names nodes. */

import { z } from 'zod';
import { time } from './schemas.ts';

export const nodeOutcome = z.object({
  name: z.string().describe('of a node; main where the server is the only one, w1, w2 ... where it has workers'),
  state: z
    .enum(['confirmed', 'late', 'deaf', 'closed'])
    .describe(
      'late: it has not confirmed yet; deaf: no other node hears it, so it delivers nothing; closed: it has no connection of before any more',
    ),
  confirmedAt: time.optional(),
  deafSince: time.optional(),
  closedBy: time.optional().describe('when its sockets are closed, of a node that is deaf or closed'),
});
