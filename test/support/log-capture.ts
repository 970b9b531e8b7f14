// A logger whose events a test can look at.
import { createLogger, type LogFields, type Logger, type LogLevel } from '../../src/lib/logger.ts';

export interface LogEvent {
  readonly level: LogLevel;
  readonly event: string;
  readonly fields: LogFields;
}

export function captureLog(): { logger: Logger; events: LogEvent[] } {
  const events: LogEvent[] = [];
  return { logger: createLogger((level, event, fields) => void events.push({ level, event, fields }), 'debug'), events };
}
