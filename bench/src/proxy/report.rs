//! The table of `proxy`.

use super::{Point, ProxyOptions, Sample};
use crate::figures::median;
use crate::print::{Table, grouped, out};

/// Prints CPU for each request, and Stickler's as a multiple of HAProxy's in the same round.
pub fn print(options: &ProxyOptions, apart: bool, names: &[&str], idle: &[f64], samples: &[Sample]) {
    out(format_args!(
        "medians of {} rounds, {} s a point; {} connections, {} known sessions of each affinity; {}",
        options.rounds,
        options.seconds,
        options.connections,
        options.sessions,
        if apart { "proxy on one core, clients and backends on another" } else { "all on one core" },
    ));
    for (name, idle) in names.iter().zip(idle) {
        out(format_args!("{name} without requests: {idle:.1} ms of CPU a second"));
    }
    let mut headings = vec!["affinity".to_owned(), "requests a second".to_owned()];
    headings.extend(names.iter().map(|name| format!("{name}, µs CPU")));
    headings.push("ratio".to_owned());
    headings.extend(names.iter().map(|name| format!("{name}, a second")));
    headings.extend(names.iter().map(|name| format!("{name}, p99 ms")));
    let mut table = Table::new(headings);
    for point in points(samples) {
        let of = |contender: usize, figure: fn(&Sample) -> f64| {
            let all = samples.iter().filter(|sample| sample.point == point && sample.contender == contender);
            median(all.map(figure)).unwrap_or(f64::NAN)
        };
        let every = 0..names.len();
        let mut row = vec![point.affinity.name().to_owned()];
        row.push(point.rate.map_or("saturation".to_owned(), grouped));
        row.extend(every.clone().map(|contender| format!("{:.1}", of(contender, |sample| sample.cpu))));
        row.push(ratio(samples, point).map_or("-".to_owned(), |ratio| format!("{ratio:.2}")));
        row.extend(every.clone().map(|contender| grouped(of(contender, |sample| sample.rate))));
        row.extend(every.map(|contender| format!("{:.2}", of(contender, |sample| sample.p99))));
        table.add(row);
    }
    table.print();
}

/// The points in the order in which they were first measured.
fn points(samples: &[Sample]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for sample in samples {
        if !points.contains(&sample.point) {
            points.push(sample.point);
        }
    }
    points
}

/// CPU of the first contender as a multiple of the second's: the median of the rounds' own ratios.
fn ratio(samples: &[Sample], point: Point) -> Option<f64> {
    let of = |contender: usize, round: usize| {
        let mut all = samples.iter().filter(|sample| sample.point == point && sample.round == round);
        all.find(|sample| sample.contender == contender).map(|sample| sample.cpu)
    };
    let rounds = samples.iter().map(|sample| sample.round + 1).max().unwrap_or(0);
    median((0..rounds).filter_map(|round| Some(of(0, round)? / of(1, round)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::load::Affinity;

    #[test]
    fn the_ratio_is_that_of_the_same_round() {
        let point = Point { affinity: Affinity::Header, rate: None };
        let sample = |round, contender, cpu| Sample { point, round, contender, cpu, rate: 1.0, p99: 1.0 };
        // the machine was twice as slow in the second round, which is not a difference between proxies
        let samples = [sample(0, 0, 15.0), sample(0, 1, 10.0), sample(1, 1, 20.0), sample(1, 0, 30.0)];
        assert_eq!(ratio(&samples, point), Some(1.5));
        assert_eq!(points(&samples), [point]);
        let other = Point { rate: Some(2_000.0), ..point };
        assert_eq!(ratio(&samples, other), None);
    }
}
