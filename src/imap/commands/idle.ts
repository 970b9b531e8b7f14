// IDLE (RFC 2177).
import type { Session } from '../session.ts';
import { bad, ok, type Answer } from '../status.ts';
import type { Scanner } from '../syntax/scanner.ts';

export async function idle(session: Session, scan: Scanner): Promise<Answer> {
  scan.end();
  session.writer.line('+ idling');
  await session.writer.drain();
  const line = await session.idle();
  return line?.toUpperCase() === 'DONE' ? ok('Idle completed') : bad('Expected DONE');
}
