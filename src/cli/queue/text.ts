// Times, sizes and other people's text as the queue's commands print them.

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['m', 60],
] as const;

/** `45s`, `12m`, `2h05m`, `3d04h`: the two greatest units. `ms` below 0 counts as 0. */
export function shortTime(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  for (const [i, [unit, size]] of UNITS.entries()) {
    if (seconds < size) continue;
    const next = UNITS[i + 1];
    const whole = `${Math.floor(seconds / size)}${unit}`;
    return next ? `${whole}${String(Math.floor((seconds % size) / next[1])).padStart(2, '0')}${next[0]}` : whole;
  }
  return `${seconds}s`;
}

/** `812B`, `3.1K`, `12M`: binary multiples. */
export function shortSize(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'K', 'M', 'G']) {
    if (value < 1024 || unit === 'G')
      return unit !== 'B' && value < 10 ? `${value.toFixed(1)}${unit}` : `${Math.round(value)}${unit}`;
    value /= 1024;
  }
  return '';
}

/** Control characters (a peer's reply may be anything) become `?`, as Postfix has it. */

export const printable = (text: string): string => text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?');

export const count = (number: number, one: string): string => `${number} ${one}${number === 1 ? '' : 's'}`;

/** `<>` for nobody. */
export const senderText = (sender: string): string => (sender === '' ? '<>' : printable(sender));
