import { HvError } from '../errors/index.ts';

/** Every key that hv can press, by the name that people type. */
export const KEYS = [
  ...'abcdefghijklmnopqrstuvwxyz0123456789',
  ...['ctrl', 'alt', 'shift', 'meta', 'right-ctrl', 'right-alt', 'right-shift', 'right-meta', 'menu'],
  ...['enter', 'escape', 'backspace', 'tab', 'space', 'delete', 'insert', 'home', 'end', 'page-up', 'page-down'],
  ...['up', 'down', 'left', 'right', 'caps-lock', 'num-lock', 'scroll-lock', 'print-screen', 'pause'],
  ...['f1', 'f2', 'f3', 'f4', 'f5', 'f6', 'f7', 'f8', 'f9', 'f10', 'f11', 'f12'],
  ...['minus', 'equal', 'left-bracket', 'right-bracket', 'backslash', 'semicolon', 'apostrophe', 'grave'],
  ...['comma', 'period', 'slash'],
] as const;
export type Key = (typeof KEYS)[number];

/** Other words for keys. */
const ALIASES: Readonly<Record<string, Key>> = {
  control: 'ctrl',
  win: 'meta',
  super: 'meta',
  return: 'enter',
  esc: 'escape',
  del: 'delete',
  ins: 'insert',
  pgup: 'page-up',
  pgdn: 'page-down',
  print: 'print-screen',
  sysrq: 'print-screen',
  '-': 'minus',
  '=': 'equal',
  '[': 'left-bracket',
  ']': 'right-bracket',
  '\\': 'backslash',
  ';': 'semicolon',
  "'": 'apostrophe',
  '`': 'grave',
  ',': 'comma',
  '.': 'period',
  '/': 'slash',
};
const KEY_SET: ReadonlySet<string> = new Set(KEYS);
const MAX_KEYS_AT_ONCE = 8;
export const MAX_TYPED_CHARACTERS = 1024;

/** Characters that need Shift on a US keyboard, and the key that has them. */
const SHIFTED: Readonly<Record<string, string>> = {
  '!': '1',
  '@': '2',
  '#': '3',
  $: '4',
  '%': '5',
  '^': '6',
  '&': '7',
  '*': '8',
  '(': '9',
  ')': '0',
  _: '-',
  '+': '=',
  '{': '[',
  '}': ']',
  '|': '\\',
  ':': ';',
  '"': "'",
  '~': '`',
  '<': ',',
  '>': '.',
  '?': '/',
};
const SPACES: Readonly<Record<string, Key>> = { ' ': 'space', '\n': 'enter', '\t': 'tab' };

/**
 * The keys that are held together, from `ctrl+alt+del`.
 * @throws HvError `invalid-argument`
 */
export function parseKeys(text: string): readonly Key[] {
  const words = text.toLowerCase().split('+');
  const keys = words.map((word) => keyOf(word.trim()));
  if (keys.length <= MAX_KEYS_AT_ONCE && new Set(keys).size === keys.length) return keys;
  throw new HvError('invalid-argument', `${JSON.stringify(text.slice(0, 60))} is not something that a hand can press`, {
    hint: `At most ${MAX_KEYS_AT_ONCE} different keys at once.`,
  });
}

function keyOf(word: string): Key {
  const key = Object.hasOwn(ALIASES, word) ? ALIASES[word] : word;
  if (key !== undefined && isKey(key)) return key;
  const shown = word.slice(0, 30);
  throw new HvError('invalid-argument', `there is no key ${JSON.stringify(shown)}`, {
    detail: { key: shown, keys: [...KEYS] },
    hint: 'Keys are a-z, 0-9, f1-f12, ctrl, alt, shift, meta, enter, escape, tab, space, delete, up, and so on; + joins them.',
  });
}

/**
 * The presses that type a text on a US keyboard; `\n` is Enter.
 * @throws HvError `invalid-argument` for a character that this keyboard has not, before anything is pressed
 */
export function typedKeys(text: string): readonly (readonly Key[])[] {
  const characters = [...text.replaceAll('\r\n', '\n')];
  if (characters.length > MAX_TYPED_CHARACTERS) {
    throw new HvError('invalid-argument', `more than ${MAX_TYPED_CHARACTERS} characters cannot be typed at once`, {
      detail: { characters: characters.length },
      hint: 'Type it in parts, or copy a file: hv guest copy.',
    });
  }
  return characters.map((character, at) => {
    const space = SPACES[character];
    if (space !== undefined) return [space];
    const plain = SHIFTED[character] ?? character.toLowerCase();
    const key = Object.hasOwn(ALIASES, plain) ? ALIASES[plain] : plain;
    if (plain.length !== 1 || key === undefined || !isKey(key)) {
      const codePoint = `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
      throw new HvError('invalid-argument', `character ${at + 1} (${codePoint}) is not on a US keyboard`, {
        detail: { index: at, codePoint },
        hint: 'Only printable ASCII, tabs and line feeds can be typed.',
      });
    }
    return plain === character ? [key] : ['shift', key];
  });
}

function isKey(word: string): word is Key {
  return KEY_SET.has(word);
}
