import { describeKilledCommands } from './commands.ts';

describeKilledCommands(16);
