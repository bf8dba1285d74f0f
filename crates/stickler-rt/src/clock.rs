//! A node's monotonic clock. It stands on tokio's time, so that a paused or simulated runtime drives it; a
//! simulation may also skew it, node by node.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// A reading of one node's [`Clock`]: the time since that clock was started. Readings of two nodes have
/// nothing to do with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long before `self` the moment `earlier` was; zero when it was not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates: a time-out of "never" is as good as the largest duration.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    /// Saturates at the clock's start.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// A monotonic clock of one node. Clones read the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    start: Instant,
    skew: Option<Skew>,
}

impl Clock {
    /// A clock that starts at zero now and is true. What production uses.
    #[must_use]
    pub fn start() -> Self {
        Self { start: tokio_now(), skew: None }
    }

    /// A clock that starts at zero now, and the handle that makes it wrong. For simulations; they call it
    /// on the runtime of the node whose clock it is.
    #[must_use]
    pub fn start_skewed() -> (Self, Skew) {
        let start = tokio_now();
        let line = Line { anchor: start, reading: Duration::ZERO, rate: 1.0 };
        let skew = Skew { line: Arc::new(Mutex::new(line)) };
        (Self { start, skew: Some(skew.clone()) }, skew)
    }

    /// The time since the clock was started, as this node sees it. Never goes back.
    #[must_use]
    pub fn now(&self) -> Moment {
        match &self.skew {
            None => Moment(tokio_now().saturating_duration_since(self.start)),
            Some(skew) => Moment(skew.line().at(tokio_now())),
        }
    }

    /// Waits until this clock reads `moment` or later. A skewed clock makes the wait longer or shorter, as
    /// it would for a real process.
    pub async fn sleep_until(&self, moment: Moment) {
        loop {
            let left = moment.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(self.skew.as_ref().map_or(left, |skew| skew.line().wait_for(left))).await;
        }
    }

    /// Waits until `duration` has passed on this clock.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }
}

/// The time of day, for people to read: no decision may depend on it. A skewed (simulated) clock answers
/// with its own reading after the epoch, so that a seed reproduces what is displayed too.
#[must_use]
pub fn wall_clock(clock: &Clock) -> SystemTime {
    if clock.skew.is_some() { SystemTime::UNIX_EPOCH + clock.now().0 } else { system_now() }
}

/// Makes one node's clock wrong. Clones change the same clock.
#[derive(Clone, Debug)]
pub struct Skew {
    line: Arc<Mutex<Line>>,
}

impl Skew {
    /// From now on the clock runs `rate` times as fast as true time, at most 1,000 times. 0 stops it; what
    /// is negative or not a number counts as 0, because a monotonic clock never goes back.
    pub fn set_rate(&self, rate: f64) {
        let mut line = self.line();
        line.anchor_at(tokio_now());
        line.rate = if rate > 0.0 { rate.min(FASTEST) } else { 0.0 };
    }

    /// Moves the clock ahead at once.
    pub fn jump(&self, ahead: Duration) {
        let mut line = self.line();
        line.anchor_at(tokio_now());
        line.reading = line.reading.saturating_add(ahead);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock's reading as a straight line over true time, from its last change on.
#[derive(Debug)]
struct Line {
    anchor: Instant,
    reading: Duration,
    rate: f64,
}

/// Beyond this factor a skewed clock stops being a plausible one, and its arithmetic could overflow.
const FASTEST: f64 = 1_000.0;

/// How often a stopped clock is looked at again by those who sleep on it.
const STOPPED_CLOCK_LOOK: Duration = Duration::from_millis(10);

impl Line {
    fn at(&self, now: Instant) -> Duration {
        self.reading.saturating_add(now.saturating_duration_since(self.anchor).mul_f64(self.rate))
    }

    fn anchor_at(&mut self, now: Instant) {
        self.reading = self.at(now);
        self.anchor = now;
    }

    /// True time to wait before looking again whether `left` has passed. The rate may change meanwhile, so
    /// a long wait is cut into pieces.
    fn wait_for(&self, left: Duration) -> Duration {
        if self.rate <= 0.0 {
            return STOPPED_CLOCK_LOOK;
        }
        Duration::try_from_secs_f64(left.as_secs_f64() / self.rate)
            .map_or(STOPPED_CLOCK_LOOK, |wait| wait.clamp(Duration::from_micros(1), STOPPED_CLOCK_LOOK * 10))
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads tokio's clock")]
fn tokio_now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the time of day, for display")]
fn system_now() -> SystemTime {
    SystemTime::now()
}
