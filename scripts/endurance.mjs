// `npm run endurance -- [--minutes N] [--rate N] [--idle N]`: the long form of test/e2e/endurance.test.ts (RELIABILITY row 15). Prints a line a minute and
// ends with 1 when a message is missing, a session was cut, or memory or descriptors grew.
import { parseArgs } from 'node:util';
import { enduranceLoad, growth } from '../test/support/endurance-load.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    rate: { type: 'string', default: '50' },
    idle: { type: 'string', default: '200' },
  },
});
const { samples, ...counts } = await enduranceLoad({
  seconds: Number(values.minutes) * 60,
  rate: Number(values.rate),
  idleSessions: Number(values.idle),
  progress: (text) => console.log(text),
});
const grown = growth(samples);
console.log(JSON.stringify({ ...counts, first: samples[0], last: samples.at(-1), grown }));
if (counts.found !== counts.sent || counts.passedOn !== counts.queued || grown.residentMb >= 40 || grown.descriptors > 10)
  process.exitCode = 1;
