import { describeDriveFaults } from './drives.ts';

// From an order's first moment to after its end, where nothing is under way any more.
describeDriveFaults([0, 50, 100, 150, 200, 250, 300, 350, 400, 500, 600]);
