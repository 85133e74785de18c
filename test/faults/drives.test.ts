import { describeDriveFaults } from './drives.ts';

describeDriveFaults([200]);
