/** Characters that would change how the text around them is shown, or that cannot be seen. */
const INVISIBLE = /([\p{Cc}\p{Cf}\p{Zl}\p{Zp}])/u;

/** `U+202E` */
function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
}

/**
 * Text from a device or a stranger: rendered as text, isolated from the direction of its surroundings, with control, format
 * and bidirectional characters replaced by their code points. `max` characters are shown.
 */
export function UntrustedText(props: { readonly text: string; readonly max?: number }) {
  const { text, max = 2_000 } = props;
  const shown = text.length > max ? text.slice(0, max) : text;
  return (
    <bdi>
      {shown.split(INVISIBLE).map((part, index) =>
        index % 2 === 1 ? (
          <span class="made-visible" key={index}>
            {codePoint(part)}
          </span>
        ) : (
          part
        ),
      )}
      {text.length > max && <span class="soft"> … {text.length - max} more characters</span>}
    </bdi>
  );
}
