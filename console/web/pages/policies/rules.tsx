import { changesBetween, type Policy, VERB_NAMES, VERBS } from './policy-document.ts';
import { ruleInWords } from './rule-words.ts';

/** The lists of a policy, each rule with its meaning. */
export function Rules({ policy }: { readonly policy: Policy }) {
  return (
    <div class="rules">
      {VERB_NAMES.map((verb) => (
        <section key={verb} aria-label={VERBS[verb][0]}>
          <h3>
            {VERBS[verb][0]} <span class="soft small">{VERBS[verb][1]}</span>
          </h3>
          {policy[verb].length === 0 ? (
            <p class="soft">nothing</p>
          ) : (
            <ul>
              {policy[verb].map((rule) => (
                <li key={rule}>
                  <code>{rule}</code>
                  <span class="soft">{ruleInWords(verb, rule)}</span>
                </li>
              ))}
            </ul>
          )}
        </section>
      ))}
    </div>
  );
}

/** What the second policy takes away and adds. */
export function PolicyDiff(props: { readonly before: Policy; readonly after: Policy }) {
  const changes = changesBetween(props.before, props.after);
  if (changes.length === 0) return <p class="soft">Both have the same rules.</p>;
  return (
    <div class="rules diff">
      {changes.map(({ verb, added, removed }) => (
        <section key={verb} aria-label={`${VERBS[verb][0]}: changes`}>
          <h3>{VERBS[verb][0]}</h3>
          <ul>
            {removed.map((rule) => (
              <li key={`- ${rule}`} class="removed">
                <code>
                  <span class="only-read">removed: </span>− {rule}
                </code>
                <span>{ruleInWords(verb, rule)}</span>
              </li>
            ))}
            {added.map((rule) => (
              <li key={`+ ${rule}`} class="added">
                <code>
                  <span class="only-read">added: </span>+ {rule}
                </code>
                <span>{ruleInWords(verb, rule)}</span>
              </li>
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}
