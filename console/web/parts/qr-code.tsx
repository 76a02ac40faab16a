import { encode } from 'uqr';
import '../styles/trust.css';

/** Modules of light around the code, which readers need (ISO/IEC 18004, 9.1). */
const QUIET_ZONE = 4;

/** The text as a QR code, dark on light in both themes. */
export function QrCode(props: { readonly text: string; readonly label: string }) {
  const { size, data } = encode(props.text, { ecc: 'M', border: QUIET_ZONE });
  const dark = data.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : ''))).join('');
  return (
    <svg
      class="qr-code"
      viewBox={`0 0 ${size} ${size}`}
      role="img"
      aria-label={props.label}
      shape-rendering="crispEdges"
    >
      <rect width={size} height={size} fill="#fff" />
      <path d={dark} fill="#000" />
    </svg>
  );
}
