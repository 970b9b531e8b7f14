// Dates as mbox separators and lists of mailutils show them, in UTC or the process's time zone.

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const two = (n: number): string => String(n).padStart(2, '0');

/** `Mon Nov  2 10:00:00 2026`, UTC. */
export function formatAsctime(at: number): string {
  const date = new Date(at);
  const day = String(date.getUTCDate()).padStart(2);
  const time = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
  return `${DAYS[date.getUTCDay()] ?? ''} ${MONTHS[date.getUTCMonth()] ?? ''} ${day} ${time} ${date.getUTCFullYear()}`;
}

/** `Mon Nov  2 10:00`, local time. */
export function formatShort(at: number): string {
  const date = new Date(at);
  const day = String(date.getDate()).padStart(2);
  return `${DAYS[date.getDay()] ?? ''} ${MONTHS[date.getMonth()] ?? ''} ${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
