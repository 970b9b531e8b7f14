// `inline:{ key=value, { key = text with spaces } }` and `static:value` (DATABASE_README).
import { MailError } from '../../lib/errors.ts';
import { splitList, ValueError } from '../values.ts';

/** @throws MailError config `MAP_INVALID` */
export function parseInline(name: string, spec: string): Map<string, string> {
  const entries = new Map<string, string>();
  const body = braced(name);
  if (body === undefined) throw invalid(spec, 'an inline table is written inline:{ key=value, { key = value with spaces } }');
  let parts: string[];
  try {
    parts = splitList(body);
  } catch (error) {
    throw error instanceof ValueError ? invalid(spec, error.message) : error;
  }
  for (const part of parts) {
    const text = braced(part) ?? part;
    const equals = text.indexOf('=');
    const key = text.slice(0, Math.max(0, equals)).trim().toLowerCase();
    const value = text.slice(equals + 1).trim();
    if (key === '' || value === '') throw invalid(spec, `"${part}" is not of the form key=value`);
    if (!entries.has(key)) entries.set(key, value);
  }
  if (entries.size === 0) throw invalid(spec, 'the table is empty');
  return entries;
}

/** The one value of a static table: `static:5000`, `static:{ two words }`. */
export function parseStatic(name: string): string {
  return (braced(name) ?? name).trim();
}

function braced(text: string): string | undefined {
  const bare = text.trim();
  return bare.startsWith('{') && bare.endsWith('}') ? bare.slice(1, -1).trim() : undefined;
}

function invalid(spec: string, reason: string): MailError {
  return new MailError('config', 'MAP_INVALID', `${spec}: ${reason}`);
}
