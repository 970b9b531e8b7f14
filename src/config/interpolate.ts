// `$name`, `${name}` and `$(name)` in settings, as main.cf has them (postconf(5)): what a Postfix user pastes keeps its meaning.
import { ValueError } from './values.ts';

const REFERENCE = /\$\$|\$([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*)\}|\$\(([A-Za-z_]\w*)\)/g;
/** How deep values may refer to values. */
const MAX_DEPTH = 20;
/** Characters that a value may become: references to references grow fast. */
const MAX_LENGTH = 100_000;

/**
 * Replaces references in `text`; `$$` is a dollar sign. `lookup` gives a name's own text, undefined when there is no such name.
 * @throws ValueError for an unknown name, a circle, or a value that grows without end
 */
export function interpolate(text: string, lookup: (name: string) => string | undefined, depth = 0): string {
  if (!text.includes('$')) return text;
  if (depth >= MAX_DEPTH) throw new ValueError(`"${text}" refers to itself`, 'the value itself');
  const result = text.replace(REFERENCE, (whole: string, a?: string, b?: string, c?: string) => {
    const name = a ?? b ?? c;
    if (name === undefined) return '$';
    const value = lookup(name);
    if (value === undefined)
      throw new ValueError(
        `${whole} stands for nothing: there is no setting ${name}`,
        `the value itself, or $$ for a dollar sign`,
      );
    return interpolate(value, lookup, depth + 1);
  });
  if (result.length > MAX_LENGTH) throw new ValueError('the value grows too long', 'the value itself');
  return result;
}
