import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { ShownOnce } from '../../parts/shown-once.tsx';
import { Time } from '../../parts/time.tsx';

export type SignInLink = AnswerOf<'POST /v1/sign-in-links'>;

/** For an invitation that was lost, or a forgotten password. */
export function MakeLink(props: {
  readonly operator: string;
  readonly onMade: (link: SignInLink) => void;
  readonly onClose: () => void;
}) {
  const { operator } = props;
  const { problem, run } = useAct();
  const make = async () => {
    const link = await run((idempotencyKey) => api('POST /v1/sign-in-links', { body: { operator }, idempotencyKey }));
    if (link !== undefined) props.onMade(link);
  };
  return (
    <Confirmation title={`Make a link for ${operator}`} action="Make a link" act={make} onClose={props.onClose}>
      <div class="form">
        <p>
          The person with the link sets a new password for {operator}. A link that was made before is refused from then
          on. A second factor stays, and is asked for.
        </p>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}

/** The link itself, which the server does not show again. */
export function SignInLinkDialog(props: { readonly link: SignInLink; readonly onClose: () => void }) {
  const { url, operator, expiresAt } = props.link;
  return (
    <ShownOnce
      title={`Link for ${operator ?? 'the first operator'}`}
      secret={url}
      label="the link"
      onClose={props.onClose}
    >
      Send it to {operator ?? 'the person'} over a channel that only they read. They choose a password there and are
      signed in. It works once, until <Time at={expiresAt} />.
    </ShownOnce>
  );
}
