import { useSignal } from '@preact/signals';
import { Panel } from '../../parts/panel.tsx';
import { chooseTheme, chosenTheme, THEMES } from '../../theme.ts';

const TITLES = { system: 'As the system', light: 'Light', dark: 'Dark' } as const;

/** Of this browser alone. */
export function Appearance() {
  const theme = useSignal(chosenTheme());
  return (
    <Panel title="Theme">
      <fieldset class="choices">
        <legend class="soft">In this browser</legend>
        {THEMES.map((name) => (
          <label key={name}>
            <input
              type="radio"
              name="theme"
              checked={theme.value === name}
              onChange={() => {
                theme.value = name;
                chooseTheme(name);
              }}
            />
            {TITLES[name]}
          </label>
        ))}
      </fieldset>
    </Panel>
  );
}
