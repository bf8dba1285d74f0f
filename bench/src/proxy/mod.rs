//! `proxy`: the CPU that a proxied request of a known session costs, beside HAProxy with a stick table.

mod backend;
mod connection;
mod contenders;
mod load;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::child::{ChildProcess, free_addresses};
use crate::failure::Failure;
use crate::print::{machine, note};
use crate::process_figures::cpu_seconds;
use crate::scratch::{ScratchOptions, empty_directory};
use contenders::Contender;
use load::{Affinity, Load, Requests, begin_sessions, send};

pub use backend::{BackendOptions, serve_backends};

/// Backends behind each proxy.
const BACKENDS: usize = 2;

/// The core of the proxies; clients and backends have another one.
const PROXY_CORE: usize = 0;

/// See [`PROXY_CORE`].
const CLIENT_CORE: usize = 1;

/// How many requests, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct ProxyOptions {
    /// Requests a second; saturation is measured besides
    #[arg(long, value_delimiter = ',', default_values_t = [2000.0, 8000.0])]
    rates: Vec<f64>,
    /// Rounds; in each, both proxies are measured at every rate
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one point is measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Keep-alive connections of clients
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Known sessions of each affinity
    #[arg(long, default_value_t = 1000)]
    sessions: usize,
    /// The release binary of Stickler [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    stickler: Option<PathBuf>,
    #[command(flatten)]
    scratch: ScratchOptions,
}

/// What is measured side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    affinity: Affinity,
    /// `None`: as fast as requests are answered.
    rate: Option<f64>,
}

/// One proxy at one point in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    point: Point,
    round: usize,
    /// Place among the contenders.
    contender: usize,
    /// Microseconds of CPU for each request.
    cpu: f64,
    /// Requests a second.
    rate: f64,
    /// Milliseconds within which 99 of 100 were answered.
    p99: f64,
}

/// Keeps this process, and what it starts without a word about cores, off the proxies' core. With a single
/// core there is nothing to keep apart. To be called before any thread is started.
///
/// # Errors
/// [`Failure::System`].
pub fn stay_on_own_core() -> Result<(), Failure> {
    if !cores_are_apart()? {
        return Ok(());
    }
    let mut own = CpuSet::new();
    own.set(CLIENT_CORE);
    sched_setaffinity(None, &own).map_err(|error| error.into()).map_err(Failure::system("choosing a core"))
}

fn cores_are_apart() -> Result<bool, Failure> {
    let allowed = sched_getaffinity(None).map_err(|error| error.into());
    let allowed = allowed.map_err(Failure::system("asking for the cores"))?;
    Ok(allowed.is_set(CLIENT_CORE))
}

/// Runs the benchmark and prints its tables.
///
/// # Errors
/// [`Failure`].
pub async fn proxy(options: &ProxyOptions) -> Result<bool, Failure> {
    let program = contenders::stickler_program(options.stickler.as_deref())?;
    contenders::haproxy_program()?;
    let place = options.scratch.place()?;
    let directory = empty_directory(&place)?;
    let core = cores_are_apart()?.then_some(PROXY_CORE);
    let addresses = free_addresses(BACKENDS)?;
    let mut arguments = vec!["backend".to_owned()];
    arguments.extend(addresses.iter().map(|address| format!("--address={address}")));
    let log = directory.path().join("backends.log");
    let _backends = ChildProcess::start_own("the backends", None, log, &arguments)?;
    let mut contenders = [
        contenders::stickler(&program, directory.path(), core, &addresses).await?,
        contenders::haproxy(directory.path(), core, &addresses).await?,
    ];
    let mut known: Vec<Vec<(Affinity, Requests)>> = Vec::new();
    for contender in &contenders {
        let mut of_contender = Vec::new();
        for affinity in Affinity::ALL {
            of_contender
                .push((affinity, begin_sessions(contender.address, affinity, options.sessions).await?));
        }
        known.push(of_contender);
    }
    let idle = idle(&mut contenders, options.seconds).await?;
    let samples = measure(options, &mut contenders, &known).await?;
    machine(None);
    contenders::print_versions(&program).await?;
    let names = contenders.each_ref().map(|contender| contender.name);
    report::print(options, core.is_some(), &names, &idle, &samples);
    for contender in contenders {
        contender.stop().await?;
    }
    Ok(true)
}

/// CPU of each contender without requests, in milliseconds a second.
async fn idle(contenders: &mut [Contender], seconds: f64) -> Result<Vec<f64>, Failure> {
    let mut before = Vec::new();
    for contender in contenders.iter_mut() {
        before.push(cpu_seconds(contender.process_id()?)?);
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let used = contenders.iter_mut().zip(before).map(|(contender, before)| {
        let after = cpu_seconds(contender.process_id()?)?;
        Ok((after - before) / seconds * 1e3)
    });
    used.collect()
}

async fn measure(
    options: &ProxyOptions,
    contenders: &mut [Contender],
    known: &[Vec<(Affinity, Requests)>],
) -> Result<Vec<Sample>, Failure> {
    let rates: Vec<Option<f64>> = options.rates.iter().copied().map(Some).chain([None]).collect();
    let mut samples = Vec::new();
    for round in 0..options.rounds {
        note(format_args!("round {} of {}", round + 1, options.rounds));
        for rate in &rates {
            for (turn, affinity) in Affinity::ALL.into_iter().enumerate() {
                // Whoever comes first in one round comes last in the next.
                for position in 0..contenders.len() {
                    let contender = (position + round + turn) % contenders.len();
                    let Some((_, requests)) = known[contender].iter().find(|(of, _)| *of == affinity) else {
                        continue;
                    };
                    let point = Point { affinity, rate: *rate };
                    samples.push(
                        sample(options, &mut contenders[contender], requests, point, round, contender)
                            .await?,
                    );
                }
            }
        }
    }
    Ok(samples)
}

async fn sample(
    options: &ProxyOptions,
    proxy: &mut Contender,
    requests: &Requests,
    point: Point,
    round: usize,
    contender: usize,
) -> Result<Sample, Failure> {
    let process = proxy.process_id()?;
    let duration = Duration::from_secs_f64(options.seconds);
    let load = Load { connections: options.connections, rate: point.rate, duration };
    let before = cpu_seconds(process)?;
    let latencies = send(proxy.address, requests, load).await?;
    let used = cpu_seconds(process)? - before;
    let answered = latencies.count();
    if answered == 0 {
        return Err(Failure::Void(format!("{} answered nothing", proxy.name)));
    }
    Ok(Sample {
        point,
        round,
        contender,
        cpu: used * 1e6 / answered as f64,
        rate: answered as f64 / options.seconds,
        p99: latencies.quantile(0.99),
    })
}
