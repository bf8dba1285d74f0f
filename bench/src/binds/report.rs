//! The tables of `binds`.

use super::{Contender, Lap};
use crate::callers::Window;
use crate::figures::{Measured, median};
use crate::print::{Table, grouped, out};

/// Prints the medians of all rounds, ratios to etcd, latencies, and changes of leader.
pub fn print(callers: &[usize], rounds: usize, window: Window, laps: &[Lap]) {
    out(format_args!(
        "medians of {rounds} rounds, {:?} a point after {:?} of warm-up; every system on empty directories in \
         each round, alone on the machine",
        window.measured, window.warm_up
    ));
    out("\nAcknowledged durable writes a second:");
    let mut rates = Table::new(["callers"].into_iter().chain(Contender::ALL.map(Contender::name)));
    for (point, callers) in callers.iter().enumerate() {
        let cells =
            Contender::ALL.map(|contender| shown(of(laps, contender, point).map(Measured::rate), grouped));
        rates.add(row(*callers, cells));
    }
    rates.print();
    print_ratios(callers, laps);
    out("Milliseconds, p50 / p99:");
    let mut latencies = Table::new(["callers"].into_iter().chain(Contender::ALL.map(Contender::name)));
    for (point, callers) in callers.iter().enumerate() {
        let cells = Contender::ALL.map(|contender| {
            let quantile = |share: f64| {
                shown(of(laps, contender, point).map(|point| point.latencies.quantile(share)), two_digits)
            };
            format!("{} / {}", quantile(0.5), quantile(0.99))
        });
        latencies.add(row(*callers, cells));
    }
    latencies.print();
    print_health(laps);
}

/// Ratios of the medians: within a round the systems do not run at the same time either.
fn print_ratios(callers: &[usize], laps: &[Lap]) {
    let pairs = [
        (Contender::InNodes, Contender::EtcdPut),
        (Contender::InNodes, Contender::EtcdCompareAndSet),
        (Contender::OneCallEach, Contender::EtcdPut),
        (Contender::OneCallEach, Contender::EtcdCompareAndSet),
    ];
    out("Times as many:");
    let names = pairs.map(|(ours, theirs)| format!("{} : {}", ours.name(), theirs.name()));
    let mut ratios = Table::new(["callers".to_owned()].into_iter().chain(names));
    for (point, callers) in callers.iter().enumerate() {
        let cells = pairs.map(|(ours, theirs)| {
            let rate = |contender| median(of(laps, contender, point).map(Measured::rate));
            let ratio = rate(ours).zip(rate(theirs)).map(|(ours, theirs)| ours / theirs);
            ratio.map_or("-".to_owned(), two_digits)
        });
        ratios.add(row(*callers, cells));
    }
    ratios.print();
}

fn print_health(laps: &[Lap]) {
    for contender in Contender::ALL {
        let of_contender = || laps.iter().filter(move |lap| lap.contender == contender);
        let changes: u64 = of_contender().map(|lap| lap.leader_changes).sum();
        let points = || of_contender().flat_map(|lap| &lap.points);
        let failed: u64 = points().map(|point| point.failed).sum();
        let first = points().find_map(|point| point.first_failure.as_deref());
        let first = first.map(|first| format!(", the first: {first}")).unwrap_or_default();
        let version = of_contender().next().map_or("-", |lap| &lap.version);
        let name = contender.name();
        out(format_args!("{name} ({version}): {changes} changes of leader, {failed} failed{first}"));
    }
}

fn of(laps: &[Lap], contender: Contender, point: usize) -> impl Iterator<Item = &Measured> {
    laps.iter().filter(move |lap| lap.contender == contender).filter_map(move |lap| lap.points.get(point))
}

fn shown(values: impl Iterator<Item = f64>, format: impl FnOnce(f64) -> String) -> String {
    median(values).map_or("-".to_owned(), format)
}

fn row(callers: usize, cells: [String; 4]) -> Vec<String> {
    [grouped(callers as f64)].into_iter().chain(cells).collect()
}

fn two_digits(value: f64) -> String {
    format!("{value:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_taken_from_the_rounds_of_its_contender_alone() {
        let lap = |contender, rates: [u64; 2]| {
            let point = |done| Measured { seconds: 1.0, done, ..Measured::new() };
            Lap { contender, points: rates.map(point).into(), leader_changes: 0, version: String::new() }
        };
        let laps = [
            lap(Contender::InNodes, [100, 1]),
            lap(Contender::EtcdPut, [7, 2]),
            lap(Contender::InNodes, [300, 3]),
        ];
        let rates = |contender, point| median(of(&laps, contender, point).map(Measured::rate));
        assert_eq!(rates(Contender::InNodes, 0), Some(200.0));
        assert_eq!(rates(Contender::EtcdPut, 1), Some(2.0));
        assert_eq!(rates(Contender::OneCallEach, 0), None);
    }
}
