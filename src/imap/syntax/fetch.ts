// FETCH's items (RFC 3501 section 6.4.5).
import type { Section, SectionText } from '../section.ts';
import { bad, type Scanner } from './scanner.ts';

export interface Partial {
  readonly start: number;
  readonly count: number;
}

export type FetchItem =
  | { readonly kind: 'FLAGS' | 'UID' | 'INTERNALDATE' | 'RFC822.SIZE' | 'ENVELOPE' | 'BODY' | 'BODYSTRUCTURE' }
  /** `label` is what the response calls it. */
  | {
      readonly kind: 'section';
      readonly label: string;
      readonly section: Section;
      readonly partial?: Partial;
      readonly peek: boolean;
    };

const MACROS: Readonly<Record<string, readonly ('FLAGS' | 'INTERNALDATE' | 'RFC822.SIZE' | 'ENVELOPE' | 'BODY')[]>> = {
  ALL: ['FLAGS', 'INTERNALDATE', 'RFC822.SIZE', 'ENVELOPE'],
  FAST: ['FLAGS', 'INTERNALDATE', 'RFC822.SIZE'],
  FULL: ['FLAGS', 'INTERNALDATE', 'RFC822.SIZE', 'ENVELOPE', 'BODY'],
};
const PLAIN = ['FLAGS', 'UID', 'INTERNALDATE', 'RFC822.SIZE', 'ENVELOPE', 'BODYSTRUCTURE'] as const;
const WHOLE: Section = { part: [], text: '', fields: [] };
const MAX_ITEMS = 100;
const MAX_PART_DEPTH = 110;
const MAX_FIELDS = 200;

export function readFetchItems(scan: Scanner): FetchItem[] {
  if (scan.next === '(') {
    const items = scan.list(() => readItem(scan));
    if (items.length === 0 || items.length > MAX_ITEMS) throw bad('Bad number of fetch items');
    return items;
  }
  for (const [macro, kinds] of Object.entries(MACROS)) if (scan.accept(macro)) return kinds.map((kind) => ({ kind }));
  return [readItem(scan)];
}

function readItem(scan: Scanner): FetchItem {
  for (const kind of PLAIN) if (scan.accept(kind)) return { kind };
  if (scan.accept('RFC822.HEADER'))
    return { kind: 'section', label: 'RFC822.HEADER', section: { ...WHOLE, text: 'HEADER' }, peek: true };
  if (scan.accept('RFC822.TEXT'))
    return { kind: 'section', label: 'RFC822.TEXT', section: { ...WHOLE, text: 'TEXT' }, peek: false };
  if (scan.accept('RFC822')) return { kind: 'section', label: 'RFC822', section: WHOLE, peek: false };
  if (scan.accept('BODY.PEEK[')) return readSection(scan, true);
  if (scan.accept('BODY[')) return readSection(scan, false);
  if (scan.accept('BODY')) return { kind: 'BODY' };
  throw bad('Unknown fetch item');
}

function readSection(scan: Scanner, peek: boolean): FetchItem {
  const part: number[] = [];
  let text: SectionText = '';
  while (/[1-9]/.test(scan.next)) {
    part.push(scan.nonZero());
    if (part.length > MAX_PART_DEPTH) throw bad('The part number is too deep');
    if (!scan.accept('.')) break;
    if (!/[1-9]/.test(scan.next)) {
      text = readText(scan);
      break;
    }
  }
  if (part.length === 0 && scan.next !== ']') text = readText(scan);
  if (text === 'MIME' && part.length === 0) throw bad('MIME needs a part number');
  const names = text.startsWith('HEADER.FIELDS') ? (scan.space(), readFieldNames(scan)) : [];
  scan.expect(']');
  const list = names.length > 0 ? ` (${names.join(' ')})` : '';
  const name = [...part.map(String), ...(text === '' ? [] : [text])].join('.');
  const partial = readPartial(scan);
  const section = { part, text, fields: names.map((n) => n.toLowerCase()) };
  const label = `BODY[${name}${list}]${partial ? `<${partial.start}>` : ''}`;
  return { kind: 'section', label, section, peek, ...(partial ? { partial } : {}) };
}

function readText(scan: Scanner): SectionText {
  for (const text of ['HEADER.FIELDS.NOT', 'HEADER.FIELDS', 'HEADER', 'TEXT', 'MIME'] as const)
    if (scan.accept(text)) return text;
  throw bad('Unknown section');
}

function readFieldNames(scan: Scanner): string[] {
  const names = scan.list(() => scan.astring().toString('latin1'));
  if (names.length === 0 || names.length > MAX_FIELDS) throw bad('Bad number of header fields');
  // They are echoed: only what a field may be called (RFC 5322 2.2).
  for (const name of names) if (!/^[!-9;-~]+$/.test(name) || /[()\]"\\{]/.test(name)) throw bad('Bad header field name');
  return names;
}

function readPartial(scan: Scanner): Partial | undefined {
  if (!scan.accept('<')) return undefined;
  const start = scan.number();
  scan.expect('.');
  const count = scan.number();
  scan.expect('>');
  if (count === 0) throw bad('A partial fetch of nothing');
  return { start, count };
}
