// Medians, ratios and the verdict, as tables.
import type { Checks } from './servers/server.ts';
import type { Run } from './smtp.ts';
import { median, rounded, spread, type Spread } from './statistics.ts';

export interface ScenarioResult {
  readonly scenario: string;
  readonly what: string;
  readonly checks: Checks;
  readonly runs: readonly Run[];
}

/** Buzon's rate over Postfix's that is aimed at; the gate is 1, at no more CPU for each message. */
const AIM = 2;

export interface Ratios {
  readonly scenario: string;
  readonly checks: Checks;
  /** Buzon's median over Postfix's. */
  readonly rate: number;
  readonly cpu: number;
  readonly p50: number;
  readonly p99: number;
  readonly gate: boolean;
  readonly aim: boolean;
}

const serversOf = ({ runs }: ScenarioResult): string[] => [...new Set(runs.map(({ server }) => server))].sort();
type Figure = 'messagesPerSecond' | 'cpuMsPerMessage' | 'p50Ms' | 'p99Ms';
const valuesOf = ({ runs }: ScenarioResult, server: string, figure: Figure): number[] =>
  runs.filter((run) => run.server === server).map((run) => run[figure]);

/** Medians, least and greatest of all runs, by server. */
export function summary(result: ScenarioResult): Record<string, Record<Figure, Spread>> {
  return Object.fromEntries(
    serversOf(result).map((server) => {
      const of = (figure: Figure): Spread => spread(valuesOf(result, server, figure));
      const figures = {
        messagesPerSecond: of('messagesPerSecond'),
        cpuMsPerMessage: of('cpuMsPerMessage'),
        p50Ms: of('p50Ms'),
        p99Ms: of('p99Ms'),
      };
      return [server, figures];
    }),
  );
}

export function ratios(result: ScenarioResult): Ratios {
  const ratio = (figure: Figure): number =>
    rounded(median(valuesOf(result, 'Buzon', figure)) / median(valuesOf(result, 'Postfix', figure)), 3);
  const [rate, cpu] = [ratio('messagesPerSecond'), ratio('cpuMsPerMessage')];
  const gate = rate >= 1 && cpu <= 1;
  const { scenario, checks } = result;
  return { scenario, checks, rate, cpu, p50: ratio('p50Ms'), p99: ratio('p99Ms'), gate, aim: gate && rate >= AIM };
}

const COLUMNS: readonly (readonly [Figure, string, number])[] = [
  ['messagesPerSecond', 'messages/s', 0],
  ['cpuMsPerMessage', 'CPU ms/message', 2],
  ['p50Ms', '250 p50 ms', 1],
  ['p99Ms', '250 p99 ms', 1],
];

export function printScenario(result: ScenarioResult): void {
  const rows = [['median (min–max)', ...COLUMNS.map(([, title]) => title)]];
  for (const [server, figures] of Object.entries(summary(result)))
    rows.push([
      server,
      ...COLUMNS.map(([figure, , digits]) => {
        const { median: middle, min, max } = figures[figure];
        return `${middle.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
      }),
    ]);
  printRows(rows);
}

export function printTable(results: readonly ScenarioResult[]): void {
  console.log(`\nBuzon / Postfix, medians. Gate: rate at least 1, CPU at most 1. Aim: rate at least ${AIM}.`);
  const rows = [['', 'checks', 'rate', 'CPU', '250 p50', '250 p99', 'gate', 'aim']];
  for (const result of results) {
    const { checks, rate, cpu, p50, p99, gate, aim } = ratios(result);
    const numbers = [rate, cpu, p50, p99].map((value) => value.toFixed(2));
    rows.push([result.what, checks, ...numbers, gate ? 'yes' : 'NO', aim ? 'yes' : 'no']);
  }
  printRows(rows);
}

/** Columns as wide as their widest entry; the first to the left, the others to the right. */
export function printRows(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? [];
  for (const row of rows)
    console.log(`  ${row.map((text, i) => (i === 0 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0))).join('  ')}`);
}
