// One JSON line per event, or the text form that Postfix and Dovecot write (`mail.log`), for logrotate, fail2ban and
// parsers that read those. Values never break out of their line: control characters are escaped.

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Record<string, string | number | boolean | null | undefined | readonly string[]>;

export interface Logger {
  /** `event` is a stable name (`smtp.connect`, `delivery.stored`); `fields` carry no secrets. */
  log(level: LogLevel, event: string, fields?: LogFields): void;
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** A logger whose every event carries `fields` too (a session's id, say). */
  child(fields: LogFields): Logger;
}

/** Takes one event; the formats are in `config`-free functions so that a sink can be a file, a test's array, a socket. */
export type LogSink = (level: LogLevel, event: string, fields: LogFields, at: number) => void;

const ORDER: Record<LogLevel, number> = { debug: 10, info: 20, warn: 30, error: 40 };

class SinkLogger implements Logger {
  readonly #sink: LogSink;
  readonly #least: number;
  readonly #fields: LogFields;
  readonly #now: () => number;

  constructor(sink: LogSink, least: number, fields: LogFields, now: () => number) {
    this.#sink = sink;
    this.#least = least;
    this.#fields = fields;
    this.#now = now;
  }
  log(level: LogLevel, event: string, fields: LogFields = {}): void {
    if (ORDER[level] < this.#least) return;
    this.#sink(level, event, { ...this.#fields, ...fields }, this.#now());
  }
  debug(event: string, fields?: LogFields): void {
    this.log('debug', event, fields);
  }
  info(event: string, fields?: LogFields): void {
    this.log('info', event, fields);
  }
  warn(event: string, fields?: LogFields): void {
    this.log('warn', event, fields);
  }
  error(event: string, fields?: LogFields): void {
    this.log('error', event, fields);
  }
  child(fields: LogFields): Logger {
    return new SinkLogger(this.#sink, this.#least, { ...this.#fields, ...fields }, this.#now);
  }
}

/** Whether an event of `level` is written where `least` is the least level. */
export const isLogged = (level: LogLevel, least: LogLevel): boolean => ORDER[level] >= ORDER[least];

/** A logger that hands every event of at least `level` to `sink`. `now` gives milliseconds since the epoch. */
export function createLogger(sink: LogSink, level: LogLevel = 'info', now: () => number = Date.now): Logger {
  return new SinkLogger(sink, ORDER[level], {}, now);
}

/** Swallows everything. */
export const silentLogger: Logger = createLogger(() => undefined, 'error');

/** One JSON line, newline included. */
export function jsonLine(level: LogLevel, event: string, fields: LogFields, at: number): string {
  return JSON.stringify({ time: new Date(at).toISOString(), level, event, ...fields }) + '\n';
}
