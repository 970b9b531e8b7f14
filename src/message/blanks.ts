/**
 * Without spaces, tabs and line ends around it. Not `trim()`: header bytes are held as latin1 here, and what that takes for a no-break space is the second
 * byte of `à` in UTF-8.
 */
export function trimBlanks(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

const isBlank = (code: number): boolean => code === 32 || (code >= 9 && code <= 13);
