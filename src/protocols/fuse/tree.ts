import { invariant } from '../../errors/index.ts';
import { ROOT_NODE } from './wire.ts';

/** A file that shows a part of the disk. */
export interface View {
  readonly name: string;
  /** Where on the disk it begins. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** A folder of views: node 1 is the folder, the views follow. Never changes. */
export class Tree {
  readonly views: readonly View[];

  constructor(views: readonly View[]) {
    const names = new Set(views.map(({ name }) => name));
    invariant(
      names.size === views.length && views.every(({ name }) => /^[a-z0-9.-]{1,64}$/.test(name)),
      'the files of a disk have names of their own',
    );
    this.views = views;
  }

  node(index: number): number {
    return ROOT_NODE + 1 + index;
  }

  find(name: string): { readonly node: number; readonly view: View } | undefined {
    const index = this.views.findIndex((view) => view.name === name);
    const view = this.views[index];
    return view && { node: this.node(index), view };
  }

  view(node: number): View | undefined {
    return this.views[node - ROOT_NODE - 1];
  }
}
