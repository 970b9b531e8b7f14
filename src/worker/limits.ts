// The settings' limits as the protocols take them.
import { readFile } from 'node:fs/promises';
import type { Settings } from '../config/settings.ts';
import { DEFAULT_IMAP_LIMITS, type ImapLimits } from '../imap/limits.ts';
import { DEFAULT_SMTP_LIMITS, type SmtpLimits } from '../smtp/limits.ts';

/** 0 in a setting means no limit. */
const orNone = (value: number): number => (value === 0 ? Number.MAX_SAFE_INTEGER : value);

export function smtpLimits(settings: Settings): SmtpLimits {
  return {
    ...DEFAULT_SMTP_LIMITS,
    line: settings.line_length_limit,
    messageSize: orNone(settings.message_size_limit),
    recipients: settings.smtpd_recipient_limit,
    hops: settings.hopcount_limit,
    errors: settings.smtpd_hard_error_limit,
    commandTimeout: settings.smtpd_timeout,
    lineTimeout: settings.smtpd_timeout,
    dataRate: settings.smtpd_min_data_rate,
    connectionsPerAddress: orNone(settings.smtpd_client_connection_count_limit),
    connections: settings.client_limit,
  };
}

export function imapLimits(settings: Settings): ImapLimits {
  return {
    ...DEFAULT_IMAP_LIMITS,
    line: settings.imap_max_line_length,
    appendSize: orNone(settings.message_size_limit),
    idleNotify: settings.imap_idle_notify_interval,
    connectionsPerAddress: orNone(settings.imap_client_connection_count_limit),
    sessionsPerUser: orNone(settings.mail_max_userip_connections),
    connections: settings.client_limit,
  };
}

/** Descriptors kept for files, logs, databases. */
const RESERVED = 64;

/** Connections that the limit of open files leaves room for: a session may hold a file besides its socket. */
export async function connectionsFor(clientLimit: number): Promise<number> {
  const text = await readFile('/proc/self/limits', 'utf8').catch(() => '');
  const files = Number(/^Max open files\s+(\d+)/m.exec(text)?.[1] ?? 1024);
  return Math.max(1, Math.min(clientLimit, Math.floor((files - RESERVED) / 2)));
}
