// `npm run crash -- [--messages N] [--kills N] [--minutes N] [--seed N]`: the long form of test/crash/workers-killed.test.ts. With --minutes runs
// follow one another, each with the next seed, until the time is over. Ends with 1, naming the seed, when anything was lost.
import { parseArgs } from 'node:util';
import { crashLoad } from '../test/support/crash-load.ts';

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '20000' },
    kills: { type: 'string', default: '200' },
    minutes: { type: 'string', default: '0' },
    seed: { type: 'string', default: '1' },
  },
});
const until = Date.now() + Number(values.minutes) * 60_000;
const long = Number(values.minutes) > 0;
let seed = Number(values.seed);
do {
  // In minutes rather than in messages: runs short enough to end near the time.
  const messages = long ? Math.min(5_000, Number(values.messages)) : Number(values.messages);
  const kills = long ? Math.min(50, Number(values.kills)) : Number(values.kills);
  try {
    const figures = await crashLoad({ messages, kills, seed, progress: (text) => console.error(text) });
    console.log(JSON.stringify({ seed, messages, kills, ...figures }));
  } catch (error) {
    console.error(`seed ${seed}:`, error);
    process.exit(1);
  }
  seed++;
} while (Date.now() < until);
