import type { OnProgress } from '../../async/index.ts';
import { showBytes } from './units.ts';

/** A bar that is drawn once work has lasted long enough to be worth one. */
export interface ProgressBar {
  readonly onProgress: OnProgress;
  stop(): void;
}

const SHOWN_AFTER_MS = 300;

/** Draws on the stream; loads the drawing when it is first needed. */
export function progressBar(label: string, stream: NodeJS.WriteStream): ProgressBar {
  const startedAt = Date.now();
  let bar: import('cli-progress').SingleBar | undefined;
  let loading = false;
  let over = false;
  let latest: Parameters<OnProgress>[0] | undefined;

  const draw = (): void => {
    if (!bar || !latest || over) return;
    const { phase, done, total } = latest;
    const payload = { label: `${label}: ${phase}`, amount: amountOf(done, total) };
    bar.setTotal(total ?? Math.max(done, 1));
    bar.update(total === undefined ? 0 : done, payload);
  };
  const load = async (): Promise<void> => {
    loading = true;
    const { SingleBar, Presets } = await import('cli-progress');
    if (over) return;
    bar = new SingleBar(
      {
        format: '{label} {bar} {amount}',
        stream,
        hideCursor: true,
        clearOnComplete: true,
        barsize: 24,
        gracefulExit: false,
      },
      Presets.shades_classic,
    );
    bar.start(1, 0, { label, amount: '' });
    draw();
  };

  // A second Ctrl-C ends the process at once; the terminal gets its cursor back all the same.
  const stop = (): void => {
    over = true;
    process.off('exit', stop);
    bar?.stop();
  };
  process.once('exit', stop);
  return {
    onProgress(progress) {
      latest = progress;
      if (bar) draw();
      else if (!loading && Date.now() - startedAt >= SHOWN_AFTER_MS) void load();
    },
    stop,
  };
}

/** Large numbers are bytes; small ones are counts of something. */
function amountOf(done: number, total: number | undefined): string {
  const show = (total ?? done) >= 2 ** 20 ? showBytes : String;
  return total === undefined ? show(done) : `${show(done)} of ${show(total)}`;
}
