import { describe, expect, it } from 'vitest';
import { BulkPlaces } from './bulk-places.ts';

const layout = { unitBytes: 100, dataStart: 1000, unitsPerTable: 4, maxUnits: 6 };

describe('BulkPlaces', () => {
  it('puts units that are asked for together into a row, across tables', () => {
    const places = new BulkPlaces(layout);
    expect(places.place(250, 320)).toEqual({ fileOffset: 1050, length: 320 });
    expect(places.count).toBe(4);
    expect(places.end).toBe(1400);
    expect(places.tables().map(([index, numbers]) => [index, [...numbers]])).toEqual([
      [0, [0, 0, 1, 2]],
      [1, [3, 4, 0, 0]],
    ]);
  });

  it('answers the same place every time, and only as much as lies in a row', () => {
    const places = new BulkPlaces(layout);
    places.place(500, 100);
    // Unit 4 has no place yet and gets the one behind unit 3.
    expect(places.place(390, 30)).toEqual({ fileOffset: 1190, length: 30 });
    // Unit 5 lies elsewhere.
    expect(places.place(400, 200)).toEqual({ fileOffset: 1200, length: 100 });
    // Unit 6 has no place, and behind unit 5 there is another's.
    expect(places.place(500, 200)).toEqual({ fileOffset: 1000, length: 100 });
    expect(places.place(350, 100)).toEqual({ fileOffset: 1150, length: 100 });
    expect(places.count).toBe(3);
  });

  it('says when the tables cannot point further', () => {
    const places = new BulkPlaces(layout);
    expect(() => places.place(0, 700)).toThrow(expect.objectContaining({ code: 'unsupported' }));
  });
});
