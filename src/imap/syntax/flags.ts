// Flags on the wire (RFC 3501 section 9: flag, flag-list).
import { bad, type Scanner } from './scanner.ts';

const SYSTEM: ReadonlyMap<string, string> = new Map(
  ['\\Answered', '\\Flagged', '\\Deleted', '\\Seen', '\\Draft'].map((flag) => [flag.toLowerCase(), flag]),
);
const MAX_KEYWORD = 255;

/** One flag, system flags in canonical spelling. `\Recent` is nobody's to set; other `\…` are unknown: BAD. */
export function readFlag(scanner: Scanner): string {
  if (!scanner.accept('\\')) {
    const keyword = scanner.atom();
    if (keyword.length > MAX_KEYWORD) throw bad('A keyword is too long');
    return keyword;
  }
  const flag = SYSTEM.get(`\\${scanner.atom().toLowerCase()}`);
  if (flag === undefined) throw bad('Unknown system flag');
  return flag;
}

/** `(…)`, each flag once. */
export function readFlagList(scanner: Scanner): string[] {
  const flags = new Map<string, string>();
  scanner.list(() => {
    const flag = readFlag(scanner);
    if (!flags.has(flag.toLowerCase())) flags.set(flag.toLowerCase(), flag);
  });
  return [...flags.values()];
}
