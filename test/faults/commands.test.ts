import { describeKilledCommands, describeKilledLives } from './commands.ts';

describeKilledCommands(3);
describeKilledLives(6);
