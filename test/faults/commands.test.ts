import { describeKilledCommands } from './commands.ts';

describeKilledCommands(3);
