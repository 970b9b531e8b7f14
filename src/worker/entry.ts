// What the supervisor forks: one worker.
import { serveAsWorker } from './worker.ts';

serveAsWorker();
