import { describeKilledCommands, describeKilledLives } from './commands.ts';

describeKilledCommands(16);
describeKilledLives(40);
