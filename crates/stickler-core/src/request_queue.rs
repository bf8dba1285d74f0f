//! Requests of one node to one backend: as many as it may have in flight, and the others in a queue.

use std::collections::VecDeque;

/// What is in flight to one backend, and who waits. `T` is how one that waits is called.
#[derive(Debug)]
pub struct RequestQueue<T> {
    in_flight: u32,
    most: u32,
    bound: Line<T>,
    others: Line<T>,
    next: u64,
}

/// In the order in which they came, each with its number.
type Line<T> = VecDeque<(u64, T)>;

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Requests of sessions that this backend alone can serve: before all others.
    Bound,
    /// Requests that begin a session or need none.
    Other,
}

/// One request's position in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    lane: Lane,
    number: u64,
}

/// A request that waits from now on.
#[derive(Debug)]
pub struct Queued<T> {
    /// Its position.
    pub position: Position,
    /// One that waited before, and does no longer.
    pub gives_way: Option<T>,
}

impl<T> Default for RequestQueue<T> {
    fn default() -> Self {
        Self { in_flight: 0, most: u32::MAX, bound: VecDeque::new(), others: VecDeque::new(), next: 0 }
    }
}

impl<T> RequestQueue<T> {
    /// How many may be in flight from now on. Where that is more than before, [`call`](Self::call) those that wait.
    pub fn set_most(&mut self, most: u32) {
        self.most = most;
    }

    /// Takes up a request unless others are before it; false when it has to wait.
    pub fn enter(&mut self) -> bool {
        let enters = !self.is_busy();
        self.in_flight += u32::from(enters);
        enters
    }

    /// Whether a request that comes now would have to wait.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.in_flight >= self.most || self.waiting() > 0
    }

    /// Puts a request at the end of its lane; `None` when `longest` wait already. Then one of a bound session takes the place
    /// of the other that came last, as long as there is one: a crowd that fills the queue must not keep out those who can't
    /// go elsewhere.
    pub fn wait(&mut self, lane: Lane, longest: usize, how_called: T) -> Option<Queued<T>> {
        let mut gives_way = None;
        if self.waiting() >= longest {
            if lane == Lane::Other {
                return None;
            }
            let (_, last) = self.others.pop_back()?;
            gives_way = Some(last);
        }
        let number = self.next;
        self.next += 1;
        self.line(lane).push_back((number, how_called));
        Some(Queued { position: Position { lane, number }, gives_way })
    }

    /// Takes up the next one that waits, if there is room for it.
    pub fn call(&mut self) -> Option<T> {
        if self.in_flight >= self.most {
            return None;
        }
        let (_, called) = self.bound.pop_front().or_else(|| self.others.pop_front())?;
        self.in_flight += 1;
        Some(called)
    }

    /// A request that was taken up is over. Then [`call`](Self::call) the next one.
    pub fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A request waits no longer; nothing happens when it was called already.
    pub fn give_up(&mut self, position: Position) {
        let line = self.line(position.lane);
        if let Ok(place) = line.binary_search_by_key(&position.number, |(number, _)| *number) {
            line.remove(place);
        }
    }

    /// How many are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.bound.len() + self.others.len()
    }

    fn line(&mut self, lane: Lane) -> &mut Line<T> {
        match lane {
            Lane::Bound => &mut self.bound,
            Lane::Other => &mut self.others,
        }
    }
}
