import { HvError } from '../../errors/index.ts';

/** One of a few words; case does not matter. @throws HvError `invalid-argument` */
export function choiceOf<const T extends string>(what: string, choices: readonly T[]): (text: string) => T {
  return (text) => {
    const found = choices.find((choice) => choice.toLowerCase() === text.toLowerCase());
    if (found !== undefined) return found;
    const shown = text.slice(0, 60);
    throw new HvError('invalid-argument', `the ${what} ${JSON.stringify(shown)} is unknown`, {
      detail: { what, value: shown, choices: [...choices] },
      hint: `Use ${choices.slice(0, -1).join(', ')} or ${choices.at(-1)}.`,
    });
  };
}

/** A whole number from 1 on. @throws HvError `invalid-argument` */
export function countOf(what: string): (text: string) => number {
  return (text) => {
    const count = /^\d{1,9}$/.test(text.trim()) ? Number(text) : 0;
    if (count >= 1) return count;
    const shown = text.slice(0, 60);
    throw new HvError('invalid-argument', `${JSON.stringify(shown)} is not a number of ${what}`, {
      detail: { what, value: shown },
      hint: 'Write a whole number from 1 on.',
    });
  };
}
