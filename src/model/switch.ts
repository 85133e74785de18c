export type SwitchType = 'Private' | 'Internal' | 'External' | 'Nat';

export interface SwitchInfo {
  readonly id: string;
  readonly name: string;
  readonly type: SwitchType;
}
