// `buzon queue top`: what waits, drawn anew each second.
import { MailError } from '../../lib/errors.ts';
import type { Clock } from '../../lib/clock.ts';
import type { QueueStats } from '../../queue/types.ts';
import type { CommandIo, Terminal } from '../command.ts';
import type { CommandQueue } from './command-queue.ts';
import { destinations, totals } from './stats.ts';

const EVERY_MS = 1_000;
/** Rates are of this much time. */
const WINDOW_MS = 60_000;
const HOME = '\u001b[H';
const CLEAR_LINE = '\u001b[K';
const CLEAR_REST = '\u001b[J';
/** q, Ctrl-C, Ctrl-D. */
const END = /[qQ\u0003\u0004]/;

interface Sample {
  readonly at: number;
  readonly stats: QueueStats;
}

export interface Top {
  readonly queue: Pick<CommandQueue, 'stats'>;
  readonly io: CommandIo;
  readonly clock: Clock;
}

/** Without a terminal, or with `once`, one frame. */
export async function runTop(top: Top, once: boolean): Promise<number> {
  const { queue, io, clock } = top;
  const { terminal } = io;
  if (!terminal || once) {
    io.out(`${frame([{ at: clock.now(), stats: await queue.stats() }]).join('\n')}\n`);
    return 0;
  }
  const typed = watchKeys(terminal);
  const samples: Sample[] = [];
  try {
    while (!typed.ended()) {
      await draw(top, terminal, samples);
      await typed.orAfter(clock, EVERY_MS);
    }
  } finally {
    typed.close();
    io.out('\n');
  }
  return 0;
}

async function draw({ queue, io, clock }: Top, terminal: Terminal, samples: Sample[]): Promise<void> {
  const { columns, rows } = terminal.size();
  const lines = await sample(queue, clock, samples);
  const fitting = lines.slice(0, Math.max(1, rows - 1)).map((line) => `${[...line].slice(0, columns).join('')}${CLEAR_LINE}`);
  io.out(`${HOME}${fitting.join('\r\n')}${CLEAR_REST}`);
}

/** A queue that is busy for a while does not end the view. */
async function sample(queue: Top['queue'], clock: Clock, samples: Sample[]): Promise<string[]> {
  try {
    samples.push({ at: clock.now(), stats: await queue.stats() });
    while (samples[1] && samples[1].at <= clock.now() - WINDOW_MS) samples.shift();
    return frame(samples);
  } catch (error) {
    if (!(error instanceof MailError) || error.kind !== 'temporary') throw error;
    return [error.clientText, '', ...frame(samples)];
  }
}

/** The lines to be seen; rates come from the first and the last sample. */
function frame(samples: readonly Sample[]): string[] {
  const [first] = samples;
  const last = samples.at(-1);
  if (!first || !last) return [];
  const seconds = Math.round((last.at - first.at) / 1000);
  const perMinute = (now: number, before: number): string => rate(now - before, seconds);
  const before = new Map(first.stats.destinations.map(({ destination, recipients }) => [destination, recipients]));
  const now = new Map(last.stats.destinations.map(({ destination, recipients }) => [destination, recipients]));
  const changes =
    seconds === 0
      ? ''
      : `a minute, by the last ${seconds} s: ${perMinute(last.stats.messages, first.stats.messages)} messages, ${perMinute(waiting(last), waiting(first))} recipients`;
  return [
    `Buzon's queue at ${new Date(last.at).toISOString().replace('T', ' ').slice(0, 19)} UTC`,
    ...totals(last.stats, last.at),
    ...(changes === '' ? [] : [changes]),
    '',
    ...destinations(
      last.stats,
      seconds === 0 ? undefined : (site) => (before.has(site) ? perMinute(now.get(site) ?? 0, before.get(site) ?? 0) : ''),
    ),
  ];
}

const waiting = ({ stats: { recipients } }: Sample): number => recipients.ready + recipients.deferred + recipients.held;

function rate(change: number, seconds: number): string {
  const perMinute = Math.round((change * 60) / seconds);
  return perMinute > 0 ? `+${perMinute}` : String(perMinute);
}

interface Keys {
  ended(): boolean;
  /** Resolves after `ms`, or at once when the end is typed. */
  orAfter(clock: Clock, ms: number): Promise<void>;
  close(): void;
}

function watchKeys(terminal: Terminal): Keys {
  let ended = false;
  let wake = (): void => undefined;
  const close = terminal.keys((typed) => {
    if (!END.test(typed)) return;
    ended = true;
    wake();
  });
  return {
    ended: () => ended,
    orAfter: (clock, ms) =>
      new Promise((resolve) => {
        if (ended) return resolve();
        const cancel = clock.after(ms, resolve);
        wake = () => {
          cancel();
          resolve();
        };
      }),
    close,
  };
}
