/** Says which nodes did not answer what all were asked. Nothing when all did. */
export function Unanswered({ nodes = [] }: { readonly nodes?: readonly string[] | undefined }) {
  if (nodes.length === 0) return null;
  return (
    <p class="notice warn" role="status">
      No answer from {nodes.join(', ')}: what is connected there is missing here.
    </p>
  );
}
