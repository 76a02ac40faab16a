/**
 * The pages of the console, in the browser. `pages/` has one file per page, loaded when it is opened; `parts/` has what pages
 * share; `navigation.ts` lists them. Text of devices is only ever rendered as text. State that a link should keep is in
 * the query string (`query-state.ts`).
 */

import { render } from 'preact';
import { App } from './app.tsx';
import './styles/tokens.css';
import './styles/elements.css';
import './styles/layout.css';
import './styles/parts.css';
import { applyTheme } from './theme.ts';

applyTheme();

const root = document.getElementById('app');
if (root !== null) render(<App />, root);
