// Settings of reports to senders (bounces), of senders that are rewritten (SRS) or made for each recipient (VERP).
import { field } from './field.ts';
import { optional, readHostname, readMapList, readPath, readText, readWord, readWords } from './readers.ts';
import { readSize, show, ValueError } from './values.ts';

const CLASSES = ['bounce', '2bounce', 'data', 'delay', 'policy', 'protocol', 'resource', 'software'] as const;
/** Those that a report can be in (queue/dsn/texts.ts). */
const LANGUAGES = ['en', 'es'] as const;

export function reportFields(base: string) {
  return { ...bounceFields(base), ...senderFields(base) };
}

function bounceFields(base: string) {
  return {
    bounce_size_limit: field(
      {
        type: 'size',
        description:
          'The largest message that comes back whole when it cannot be delivered, in bytes; of larger ones, and where the sender asked for that (RET=HDRS), the header.',
        default: 50000,
        example: 100000,
      },
      (value) => readSize(value),
    ),
    bounce_default_language: field(
      { type: LANGUAGES.join(', '), description: 'Language of reports to senders.', default: 'en', example: 'es' },
      readWord(LANGUAGES),
    ),
    bounce_languages: field(
      {
        type: 'list of tables',
        description: `Language of reports by the domain of who reads them: \`example.com  es\` (${LANGUAGES.join(', ')}).`,
        default: [],
        example: 'inline:{ {example.com = es} }',
      },
      readMapList(base),
    ),
    bounce_template_file: field(
      {
        type: 'path',
        description:
          'Texts of one’s own for reports, in the form of bounce(5): `failure_template`, `delay_template`, `success_template`, `verify_template` (sendmail -bv and -v). They take the place of those of every language. Read at the start and by a reload.',
        default: 'none',
        example: '/etc/postfix/bounce.cf',
      },
      optional(readPath(base)),
    ),
    notify_classes: field(
      {
        type: 'list of words',
        description: `What \`postmaster\` is told about: \`2bounce\` for reports that could not be delivered. Postfix’s other words (${CLASSES.filter((word) => word !== '2bounce').join(', ')}) are accepted; what they stand for is in the log.`,
        default: [],
        example: ['2bounce'],
      },
      readWords(CLASSES),
    ),
  };
}

function senderFields(base: string) {
  return {
    srs_domain: field(
      {
        type: 'domain',
        description:
          'Domain of the senders that forwarded mail gets when an alias sends it outside (SRS, in postsrsd’s form), so that SPF holds at the next host; its mail must come to this host. Needs `srs_secrets_file`; without both, forwarded mail keeps its sender.',
        default: 'none',
        example: 'srs.example.com',
      },
      optional(readHostname),
    ),
    srs_secrets_file: field(
      {
        type: 'path',
        description:
          'Secrets of SRS, one a line: the first signs, all are good for 21 days after it. postsrsd’s `/etc/postsrsd.secret` may be used. Nobody but root may read it (mode 0600).',
        default: 'none',
        example: '/etc/postsrsd.secret',
      },
      optional(readPath(base)),
    ),
    default_verp_delimiters: field(
      {
        type: 'characters',
        description:
          'The two characters in `owner-list+user=domain@origin` when a client asks for a sender for each recipient (XVERP) without saying which: of `-`, `=`, `+`.',
        default: '+=',
        example: '==',
      },
      readDelimiters,
    ),
  };
}

function readDelimiters(value: unknown): string {
  const text = readText(value);
  if (/^[-=+]{2}$/.test(text)) return text;
  throw new ValueError(`${show(value)} is not two of the characters - = +`, 'two characters such as +=');
}
