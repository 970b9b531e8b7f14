// virtual_mailbox_domains in buzon.yaml itself: one name more or less; comments, order and everything else stay. Nothing is written that would
// not be read as exactly that.
import { isDeepStrictEqual } from 'node:util';
import { isNode, isScalar, isSeq, parseDocument, type Scalar, type YAMLSeq } from 'yaml';
import { parseSettings, type Settings } from '../../config/settings.ts';
import { MailError } from '../../lib/errors.ts';
import type { AccountContext } from '../user/context.ts';
import { changeConfigText } from '../user/text-file.ts';

const NAME = 'virtual_mailbox_domains';

export type DomainChange = { readonly add: string } | { readonly remove: string };

/** @throws MailError config `SETTINGS_BY_HAND` with the line to write, where the file cannot be changed safely */
export async function changeSettingsDomains(context: AccountContext, change: DomainChange): Promise<void> {
  await changeConfigText(context.file, 0o644, (text = '') => changedSettings(text, context.file, change));
}

/** The file's text with the change. @throws as changeSettingsDomains */
export function changedSettings(text: string, file: string, change: DomainChange): string {
  const before = parseSettings(text, file);
  const wanted =
    'add' in change ? [...before[NAME], change.add] : before[NAME].filter((name) => name.toLowerCase() !== change.remove);
  const next = edited(text, change);
  if (next !== undefined && isDeepStrictEqual({ ...before, [NAME]: wanted }, readOrNothing(next, file))) return next;
  const what = 'add' in change ? `add ${change.add} to ${NAME}` : `take ${change.remove} out of ${NAME}`;
  throw new MailError('config', 'SETTINGS_BY_HAND', `${file}: ${what} yourself`);
}

function readOrNothing(text: string, file: string): Settings | undefined {
  try {
    return parseSettings(text, file);
  } catch {
    return undefined;
  }
}

/** Undefined where the list is written in a way that is not changed here. */
function edited(text: string, change: DomainChange): string | undefined {
  const node: unknown = parseDocument(text).get(NAME, true);
  if (isSeq(node)) return 'add' in change ? withItem(text, node, change.add) : withoutItem(text, node, change.remove);
  if (isScalar(node) && typeof node.value === 'string') return withWord(text, node, node.value, change);
  if (node !== undefined || !('add' in change)) return undefined;
  return `${text === '' || text.endsWith('\n') ? text : `${text}\n`}${NAME}:\n  - ${change.add}\n`;
}

/** Where a node's own text is, as [start, end]. */
function spanOf(node: unknown): readonly [number, number] | undefined {
  const range = isNode(node) ? node.range : undefined;
  return range ? [range[0], range[1]] : undefined;
}
const lineStart = (text: string, at: number): number => text.lastIndexOf('\n', at - 1) + 1;
function lineEnd(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end < 0 ? text.length : end;
}

function withItem(text: string, list: YAMLSeq, name: string): string | undefined {
  const last = spanOf(list.items.at(-1));
  const whole = spanOf(list);
  if (!whole) return undefined;
  if (list.flow) {
    const at = last?.[1] ?? whole[0] + 1;
    return `${text.slice(0, at)}${last ? ', ' : ''}${name}${text.slice(at)}`;
  }
  if (!last) return undefined;
  const end = lineEnd(text, last[1]);
  return `${text.slice(0, end)}\n${text.slice(lineStart(text, last[0]), last[0])}${name}${text.slice(end)}`;
}

function withoutItem(text: string, list: YAMLSeq, name: string): string | undefined {
  const at = list.items.findIndex((item) => isScalar(item) && String(item.value).toLowerCase() === name);
  const span = spanOf(list.items[at]);
  if (!span) return undefined;
  if (!list.flow) return text.slice(0, lineStart(text, span[0])) + text.slice(lineEnd(text, span[1]) + 1);
  const [before, after] = [spanOf(list.items[at - 1]), spanOf(list.items[at + 1])];
  return text.slice(0, before?.[1] ?? span[0]) + text.slice(before || !after ? span[1] : after[0]);
}

/** Names in one text, with commas or blanks between them. */
function withWord(text: string, node: Scalar, value: string, change: DomainChange): string | undefined {
  const span = spanOf(node);
  if (!span || node.type === 'BLOCK_FOLDED' || node.type === 'BLOCK_LITERAL') return undefined;
  const names = value.split(/[\s,]+/).filter((name) => name !== '');
  const rest = 'add' in change ? [...names, change.add] : names.filter((name) => name.toLowerCase() !== change.remove);
  const joined = rest.join(', ');
  return `${text.slice(0, span[0])}${node.type === 'PLAIN' ? joined : JSON.stringify(joined)}${text.slice(span[1])}`;
}
