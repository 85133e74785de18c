import { type DirectSocket, ReadableWait } from '../../system/index.ts';

/** So long at most the event loop waits for its turn: control messages, timers, storage, new connections. */
const SLICE_MS = 1;
/** A peer whose requests come further apart is left to the event loop. */
const MAX_GAP_MS = 1;

/**
 * So long the thread looks again and again before it sleeps, as KVM does before it halts a processor. Woken on another
 * processor it would lose 20 to 60 us, several times what a request costs; a peer that is slower than this is slept for.
 */
const MAX_SPIN_MS = 0.05;
const MIN_SPIN_MS = 0.005;

/** A connection as the lane sees it. */
export interface LaneMember {
  readonly direct: DirectSocket;
  /** Something is under way that only the event loop brings to an end. */
  readonly isWaiting: boolean;
  /** Requests come one by one. Where several come together, the event loop's longer turns gather more of them. */
  readonly isSequential: boolean;
  /** Takes what has come, without waiting. False: there was nothing, or only the stream can tell what it is. */
  serve(): boolean;
}

/**
 * Serves connections whose requests follow one another closely without a turn of the event loop for each: the thread
 * waits in poll(2) for all of them at once. It returns to the event loop after a slice of time, when nothing comes, and
 * as soon as any connection of the thread, in the lane or not, waits for what the event loop brings.
 */
export class FastLane {
  /** Of the thread, in the lane or not. */
  readonly #connections = new Set<LaneMember>();
  /** When each had something to receive from the event loop last. */
  readonly #heardAt = new WeakMap<LaneMember, number>();
  #members: LaneMember[] = [];
  readonly #wait = new ReadableWait();
  #isScheduled = false;
  /** Halved by each look in vain; whole again when a peer turns out to be that quick. */
  #spinMs = MAX_SPIN_MS;

  add(connection: LaneMember): void {
    this.#connections.add(connection);
  }

  remove(connection: LaneMember): void {
    this.#connections.delete(connection);
    this.#leave(connection);
  }

  /** The event loop brought something from the peer. The second time within a short while it joins the lane. */
  heardFrom(connection: LaneMember): void {
    const now = performance.now();
    const isClose = now - (this.#heardAt.get(connection) ?? Number.NEGATIVE_INFINITY) <= MAX_GAP_MS;
    this.#heardAt.set(connection, now);
    if (!isClose || connection.isWaiting || !connection.isSequential) return;
    if (!this.#members.includes(connection)) this.#members = [...this.#members, connection];
    this.#schedule();
  }

  #leave(connection: LaneMember): void {
    if (this.#members.includes(connection)) this.#members = this.#members.filter((member) => member !== connection);
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => this.#run());
  }

  #run(): void {
    this.#isScheduled = false;
    const endsAt = performance.now() + SLICE_MS;
    while (this.#mayBlock()) {
      const members = this.#members;
      const sockets = members.map(({ direct }) => direct);
      if (!this.#spin(sockets) && !this.#sleep(sockets)) {
        this.#members = [];
        return;
      }
      members.forEach((member, index) => {
        if (this.#wait.isReady(index) && !(member.serve() && member.isSequential)) this.#leave(member);
      });
      if (performance.now() > endsAt) {
        if (this.#members.length > 0) this.#schedule();
        return;
      }
    }
    this.#members = [];
  }

  /** Looks without sleeping. */
  #spin(sockets: readonly DirectSocket[]): boolean {
    const endsAt = performance.now() + this.#spinMs;
    do {
      if (this.#wait.wait(sockets, 0)) return true;
    } while (performance.now() < endsAt);
    this.#spinMs = this.#spinMs > MIN_SPIN_MS ? this.#spinMs / 2 : 0;
    return false;
  }

  #sleep(sockets: readonly DirectSocket[]): boolean {
    const from = performance.now();
    if (!this.#wait.wait(sockets, MAX_GAP_MS)) return false;
    if (performance.now() - from < MAX_SPIN_MS) this.#spinMs = MAX_SPIN_MS;
    return true;
  }

  #mayBlock(): boolean {
    if (this.#members.length === 0) return false;
    for (const connection of this.#connections) if (connection.isWaiting) return false;
    return true;
  }
}
