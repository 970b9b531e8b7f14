// Tables in postmap(1)'s text form, and files of names, changed line by line: comments, order and the other entries stay as they are.

/** The key of a line that begins an entry, lower case. Keys with quotes are nobody's that these functions are asked for. */
const keyOf = (line: string): string => (line.split(/\s/, 1)[0] ?? '').toLowerCase();

const isNothing = (line: string): boolean => /^\s*(#|$)/.test(line);
const continues = (line: string): boolean => /^\s/.test(line);

/** Whether an entry with this key is there. */
export function hasKey(text: string, key: string): boolean {
  return text.split('\n').some((line) => !isNothing(line) && !continues(line) && keyOf(line) === key);
}

/** Without the entries of `key`, their continuation lines included. */
export function withoutKey(text: string, key: string): string {
  let dropping = false;
  return text
    .split('\n')
    .filter((line) => {
      if (isNothing(line)) return true;
      if (!continues(line)) dropping = keyOf(line) === key;
      return !dropping;
    })
    .join('\n');
}

/** With a new entry: behind the last one whose key ends like it (`@example.com`), or at the end. */
export function withKey(text: string, key: string, value: string): string {
  const entry = `${key}  ${value}`;
  const ending = key.includes('@') ? key.slice(key.lastIndexOf('@')) : undefined;
  const lines = text.split('\n');
  let alike = false;
  let last = -1;
  for (const [i, line] of lines.entries()) {
    if (isNothing(line)) continue;
    if (!continues(line)) alike = ending !== undefined && keyOf(line).endsWith(ending);
    if (alike) last = i;
  }
  if (last < 0) return `${text === '' || text.endsWith('\n') ? text : `${text}\n`}${entry}\n`;
  const end = last === lines.length - 1 ? ['', ...lines.slice(last + 1)] : lines.slice(last + 1);
  return [...lines.slice(0, last + 1), entry, ...end].join('\n');
}

/** A file of names with one more. */
export function withName(text: string, name: string): string {
  return `${text === '' || text.endsWith('\n') ? text : `${text}\n`}${name}\n`;
}

/** A file of names (between white space and commas) without one. */
export function withoutName(text: string, name: string): string {
  const kept: string[] = [];
  let orphaned = false;
  for (const line of text.split('\n')) {
    const names = line.split(/[\s,]+/).filter((one) => one !== '');
    if (isNothing(line) || !names.some((one) => one.toLowerCase() === name)) {
      // What continued a line that is gone begins one now: at the top of a file it would be left out otherwise.
      kept.push(orphaned && !isNothing(line) ? line.trimStart() : line);
      if (!isNothing(line)) orphaned = false;
      continue;
    }
    const rest = names.filter((one) => one.toLowerCase() !== name);
    if (rest.length > 0) {
      kept.push(`${continues(line) && !orphaned ? '  ' : ''}${rest.join(', ')}`);
      orphaned = false;
    } else if (!continues(line)) orphaned = true;
  }
  return kept.join('\n');
}
