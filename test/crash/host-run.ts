import { randomGuid } from '../../src/binary/index.ts';

/** The run of the host that the product sees in these tests: another one after each power cut. */
export const host = {
  run: randomGuid(),
  restart(): void {
    this.run = randomGuid();
  },
};
