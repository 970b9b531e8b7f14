// The text form of the log: the lines that Postfix's and Dovecot's daemons write (`mail.log`), for logrotate, fail2ban and the
// parsers that administrators already have. Events without a counterpart there are written as `event key=value …`.
//
//   Nov 24 13:41:13 mail buzon/smtpd[12731]: connect from unknown[192.0.2.1]
//
// Every value is escaped, so that nothing a peer sends begins a line or pretends to be a field of its own.
import type { LogFields, LogLevel } from '../lib/logger.ts';

export interface PostfixLogOptions {
  readonly hostname: string;
  /** Postfix's syslog_name: what stands before `/smtpd`. */
  readonly syslogName: string;
  readonly pid: number;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const two = (n: number): string => String(n).padStart(2, '0');

/** syslog's time stamp (RFC 3164 4.1.2), local time. */
export function syslogTime(at: number): string {
  const d = new Date(at);
  return `${MONTHS[d.getMonth()]} ${String(d.getDate()).padStart(2)} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** Control characters and what could end a bracketed field become `?`, as Postfix's printable() does. */
function clean(value: LogFields[string]): string {
  const text = Array.isArray(value) ? value.join(',') : String(value ?? '');
  return text.replace(/[\u0000-\u001f\u007f\u2028\u2029]/g, '?').slice(0, 1000);
}
const angle = (value: LogFields[string]): string => `<${clean(value).replace(/[<>]/g, '?')}>`;

type Line = readonly [daemon: string, text: string];
type Formatter = (f: LogFields) => readonly Line[];

const peer = (f: LogFields): string => `${clean(f['clientName'] ?? 'unknown')}[${clean(f['client'])}]`;
const envelope = (f: LogFields): string =>
  [
    f['from'] === undefined ? '' : `from=${angle(f['from'])}`,
    f['to'] === undefined ? '' : `to=${angle(f['to'])}`,
    `proto=${clean(f['proto'] ?? 'SMTP')}`,
    f['helo'] === undefined ? '' : `helo=${angle(f['helo'])}`,
  ]
    .filter(Boolean)
    .join(' ');
const imapPeer = (f: LogFields): string =>
  `user=${angle(f['user'])}, ${f['mechanism'] ? `method=${clean(f['mechanism'])}, ` : ''}rip=${clean(f['client'])}, lip=${clean(f['local'] ?? '')}${
    f['secure'] ? ', TLS' : ''
  }, session=${angle(f['session'])}`;

const queued = (f: LogFields): Line => [
  'qmgr',
  `${clean(f['id'])}: from=${angle(f['from'])}, size=${clean(f['size'])}, nrcpt=${clean(f['recipients'])} (queue active)`,
];
/** What smtp(8), lmtp(8), error(8) and discard(8) say of each recipient. */
const outcome = (f: LogFields, status: string): Line => [
  clean(f['transport'] ?? 'smtp'),
  `${clean(f['id'])}: to=${angle(f['to'])}, relay=${clean(f['relay'])}, delay=${clean(f['delay'])}, delays=${clean(f['delays'])}, dsn=${clean(
    f['dsn'],
  )}, status=${status} (${clean(f['status'])})`,
];

const FORMATS: Readonly<Record<string, Formatter>> = {
  'smtp.connect': (f) => [['smtpd', `connect from ${peer(f)}`]],
  'smtp.disconnect': (f) => [['smtpd', `disconnect from ${peer(f)}`]],
  'smtp.reject': (f) => [
    [
      'smtpd',
      `${clean(f['id'] ?? 'NOQUEUE')}: reject: ${clean(f['stage'] ?? 'RCPT')} from ${peer(f)}: ${clean(f['reply'])}; ${envelope(f)}`,
    ],
  ],
  'smtp.auth.failed': (f) => [
    [
      'smtpd',
      `warning: ${peer(f)}: SASL ${clean(f['mechanism'])} authentication failed: authentication failure, sasl_username=${clean(f['user'])}`,
    ],
  ],
  'smtp.received': (f) => {
    const sasl = f['user'] === undefined ? '' : `, sasl_method=${clean(f['mechanism'])}, sasl_username=${clean(f['user'])}`;
    return [
      ['smtpd', `${clean(f['id'])}: client=${peer(f)}${sasl}`],
      ['cleanup', `${clean(f['id'])}: message-id=${clean(f['messageId'] ?? '')}`],
      queued(f),
    ];
  },
  'pickup.taken': (f) => [
    ['pickup', `${clean(f['id'])}: uid=${clean(f['uid'])} from=${angle(f['from'])}`],
    ['cleanup', `${clean(f['id'])}: message-id=${clean(f['messageId'] ?? '')}`],
    queued(f),
  ],
  // Said by those who deliver it.
  'pickup.done': () => [],
  'pickup.refused': (f) => [
    ['pickup', `warning: uid=${clean(f['uid'])}: ${clean(f['file'])}: message refused: ${clean(f['reason'])}`],
  ],
  'pickup.deferred': (f) => [['pickup', `warning: ${clean(f['id'])}: message deferred: ${clean(f['error'])}`]],
  'pickup.unfinished': (f) => [['pickup', `warning: uid=${clean(f['uid'])}: ${clean(f['file'])}: unfinished message removed`]],
  'queue.queued': (f) => [queued(f)],
  'queue.active': (f) => [queued(f)],
  'queue.delivered': (f) => [outcome(f, 'sent')],
  'queue.deferred': (f) => [outcome(f, 'deferred')],
  'queue.bounced': (f) => [outcome(f, 'bounced')],
  'queue.expired': (f) => [
    outcome(f, 'deferred'),
    [
      'qmgr',
      `${clean(f['id'])}: from=${angle(f['from'])}, status=${f['forced'] ? 'force-expired' : 'expired'}, returned to sender`,
    ],
  ],
  'queue.deliverable': (f) => [outcome(f, 'deliverable')],
  'queue.undeliverable': (f) => [outcome(f, 'undeliverable')],
  'queue.removed': (f) => [['qmgr', `${clean(f['id'])}: removed`]],
  'delivery.stored': (f) => [
    [
      'virtual',
      `${clean(f['id'])}: to=${angle(f['to'])}${f['originalTo'] === undefined || f['originalTo'] === f['to'] ? '' : `, orig_to=${angle(f['originalTo'])}`}, relay=virtual, delay=${clean(
        f['delay'] ?? 0,
      )}, dsn=2.0.0, status=sent (delivered to maildir)`,
    ],
  ],
  'imap.login': (f) => [['imap-login', `Login: ${imapPeer(f)}`]],
  'imap.auth.failed': (f) => [['imap-login', `Disconnected: Auth failed (auth failed, 1 attempts): ${imapPeer(f)}`]],
  'imap.disconnect': (f) => [['imap', `Disconnected: ${clean(f['reason'] ?? 'Logged out')} ${imapPeer(f)}`]],
};

/** The lines of one event, newline included. */
export function postfixLines(
  level: LogLevel,
  event: string,
  fields: LogFields,
  at: number,
  options: PostfixLogOptions,
): string[] {
  const lines = FORMATS[event]?.(fields) ?? [generic(level, event, fields)];
  const head = `${syslogTime(at)} ${clean(options.hostname)} ${options.syslogName}`;
  return lines.map(([daemon, text]) => `${head}/${daemon}[${options.pid}]: ${text}\n`);
}

function generic(level: LogLevel, event: string, fields: LogFields): Line {
  const prefix = level === 'warn' ? 'warning: ' : level === 'error' ? 'error: ' : '';
  const pairs = Object.entries(fields).filter(([, value]) => value !== undefined);
  const daemon = event.split('.')[0] ?? 'server';
  return [daemon, `${prefix}${event}${pairs.map(([key, value]) => ` ${key}=${quoted(value)}`).join('')}`];
}
function quoted(value: LogFields[string]): string {
  const text = clean(value);
  return /[\s"=]/.test(text) ? JSON.stringify(text) : text;
}
