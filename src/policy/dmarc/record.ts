// A DMARC policy record (RFC 9989 section 4.7): a tag list whose names are case-sensitive, and in which no name may come twice.

export type DmarcPolicy = 'none' | 'quarantine' | 'reject';

export interface DmarcRecord {
  readonly p: DmarcPolicy;
  readonly sp?: DmarcPolicy;
  readonly np?: DmarcPolicy;
  /** Public suffix domain (`y`), organizational domain (`n`), or not said (`u`). */
  readonly psd: 'y' | 'n' | 'u';
  /** `t=y`: the owner only tests. */
  readonly testing: boolean;
  readonly strictDkim: boolean;
  readonly strictSpf: boolean;
  /** Where aggregate reports go, as written. */
  readonly rua?: string;
}

const VERSION = /^v[ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)/;
const POLICIES: readonly string[] = ['none', 'quarantine', 'reject'];
const isPolicy = (text: string | undefined): text is DmarcPolicy => text !== undefined && POLICIES.includes(text);

/** Whether a TXT record is one of DMARC's. */
export const isDmarcRecord = (text: string): boolean => VERSION.test(text);

/**
 * Undefined for what is no record, and for one without a policy that can be followed (section 4.10.1): a missing `p` is `none`; with a `p`, `sp` or `np` that
 * is no policy, one that asks for reports is `none` too, and others do not count.
 */
export function parseDmarcRecord(text: string): DmarcRecord | undefined {
  const tags = isDmarcRecord(text) ? tagsOf(text) : undefined;
  if (!tags) return undefined;
  const word = (name: string): string | undefined => tags.get(name)?.toLowerCase();
  const [p, sp, np] = [word('p') ?? 'none', word('sp'), word('np')];
  const rua = tags.get('rua');
  const valid = isPolicy(p) && [sp, np].every((policy) => policy === undefined || isPolicy(policy));
  if (!valid && !asksForReports(rua)) return undefined;
  const psd = word('psd');
  return {
    p: valid ? p : 'none',
    ...(valid && isPolicy(sp) ? { sp } : {}),
    ...(valid && isPolicy(np) ? { np } : {}),
    psd: psd === 'y' || psd === 'n' ? psd : 'u',
    testing: word('t') === 'y',
    strictDkim: word('adkim') === 's',
    strictSpf: word('aspf') === 's',
    ...(rua === undefined ? {} : { rua }),
  };
}

/** By name as written; undefined where a name comes twice (RFC 6376 section 3.2). Parts that are no tag are passed over. */
function tagsOf(text: string): Map<string, string> | undefined {
  const tags = new Map<string, string>();
  for (const part of text.split(';')) {
    const equals = part.indexOf('=');
    if (equals < 0) continue;
    const name = part.slice(0, equals).trim();
    if (tags.has(name)) return undefined;
    tags.set(name, part.slice(equals + 1).trim());
  }
  return tags;
}

const asksForReports = (rua: string | undefined): boolean =>
  rua?.split(',').some((uri) => /^[a-z][a-z0-9+.-]*:[^\s]+$/i.test(uri.trim())) ?? false;
