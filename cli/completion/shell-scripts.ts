/**
 * Completion scripts of bash, zsh and fish. Each contains the words of every command and starts no program, so that completion is
 * immediate. After an option that takes a value the shell completes file names, unless the values are a closed list.
 */

import type { CommandWords } from './command-words.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

export function completionScript(shell: Shell, commands: readonly CommandWords[]): string {
  return { bash, zsh, fish }[shell](commands);
}

function bash(commands: readonly CommandWords[]): string {
  return `# Completion of rollcall for bash: source <(rollcall completion bash)
_rollcall() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} path= words= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path/\${COMP_WORDS[i]}" in
${cases(commands)}
    esac
  done
  COMPREPLY=()
  case "$path $prev" in
${valueCases(commands, (choices) => `words=${quoted(choices.join(' '))}`)}
    *) case "$path" in
${commands.map((each) => `      ${quoted(pathOf(each))}) words=${quoted(wordsOf(each).join(' '))} ;;`).join('\n')}
      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o bashdefault -o default -F _rollcall rollcall
`;
}

function zsh(commands: readonly CommandWords[]): string {
  const described = (each: CommandWords) =>
    [
      ...each.commands.map(({ name, description }) => [name, description]),
      ...each.options.map((o) => [o.flag, o.description]),
    ]
      .map(([word = '', text = '']) => quoted(`${word}:${text}`))
      .concat(each.argumentChoices.map(quoted));
  return `#compdef rollcall
# Completion of rollcall for zsh: rollcall completion zsh > a directory of $fpath, as _rollcall
_rollcall() {
  local path_of= i
  local -a choices
  for ((i = 2; i < CURRENT; i++)); do
    case "$path_of/\${words[i]}" in
${cases(commands).replaceAll('path=$path', 'path_of=$path_of').replaceAll('COMP_WORDS[i]', 'words[i]')}
    esac
  done
  case "$path_of \${words[CURRENT-1]}" in
${valueCases(commands, (choices) => `choices=(${choices.map(quoted).join(' ')})`, '_files; return')}
    *) case "$path_of" in
${commands.map((each) => `      ${quoted(pathOf(each))}) choices=(${described(each).join(' ')}) ;;`).join('\n')}
      esac ;;
  esac
  _describe rollcall choices || _files
}
if [ "$funcstack[1]" = "_rollcall" ]; then _rollcall "$@"; else compdef _rollcall rollcall; fi
`;
}

function fish(commands: readonly CommandWords[]): string {
  const lines = commands.flatMap((each) => {
    const at = `-n ${quoted(`test (__rollcall_path) = '${pathOf(each)}'`)}`;
    return [
      ...each.commands.map(
        ({ name, description }) => `complete -c rollcall -f ${at} -a ${name} -d ${quoted(description)}`,
      ),
      ...each.argumentChoices.map((choice) => `complete -c rollcall -f ${at} -a ${choice}`),
      ...each.options.map(({ flag, description, takesValue, choices }) => {
        const values = choices.length > 0 ? ` -x -a ${quoted(choices.join(' '))}` : takesValue ? ' -r' : '';
        return `complete -c rollcall ${at} -l ${flag.slice(2)} -d ${quoted(description)}${values}`;
      }),
    ];
  });
  return `# Completion of rollcall for fish: rollcall completion fish | source
function __rollcall_path
  set -l path ''
  for word in (commandline -opc)[2..]
    switch "$path/$word"
      case ${paths(commands).map(quoted).join(' ')}
        set path "$path/$word"
    end
  end
  echo "x$path" | string sub -s 2
end
${lines.join('\n')}
`;
}

/** `/token/create`; empty for the program. */
function pathOf({ path }: CommandWords): string {
  return path.map((word) => `/${word}`).join('');
}

function paths(commands: readonly CommandWords[]): readonly string[] {
  return commands.map(pathOf).filter((path) => path !== '');
}

function cases(commands: readonly CommandWords[]): string {
  return `      ${paths(commands).join(' | ')}) path=$path/\${COMP_WORDS[i]} ;;`;
}

function wordsOf({ commands, options, argumentChoices }: CommandWords): readonly string[] {
  return [...commands.map(({ name }) => name), ...argumentChoices, ...options.map(({ flag }) => flag)];
}

/** One branch per option that takes a value. */
function valueCases(
  commands: readonly CommandWords[],
  withChoices: (choices: readonly string[]) => string,
  withoutChoices = 'return',
): string {
  return commands
    .flatMap((each) => each.options.filter(({ takesValue }) => takesValue).map((option) => ({ each, option })))
    .map(({ each, option: { flag, choices } }) => {
      const action = choices.length === 0 ? withoutChoices : withChoices(choices);
      return `    ${quoted(`${pathOf(each)} ${flag}`)}) ${action} ;;`;
    })
    .join('\n');
}

/** One word for all three shells. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
